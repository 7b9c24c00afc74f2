#!/bin/sh
# Prints the path of a Python with PyTorch: $PYTHON, or one installed into the cache once.
set -eu
if [ -n "${PYTHON:-}" ]; then echo "$PYTHON"; exit; fi
venv="${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox/bench-train"
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6 >&2
fi
echo "$venv/bin/python"
