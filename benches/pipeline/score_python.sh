#!/bin/sh
# Prints the Python that scoring is measured with, as client and as the server's workers: PySpark, PyTorch, pandas, pyarrow.
set -eu
if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
    exit
fi
cache=${TINDERBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox}
folder=$cache/bench-score
if [ ! -x "$folder/bin/python" ]; then
    echo "installing PySpark's Connect client and PyTorch into $folder (once, 1 GB to download)" >&2
    rm -rf "$folder.partial"
    python3 -m venv "$folder.partial" >&2
    "$folder.partial/bin/python" -m pip install -q 'pyspark[connect]==4.2.1' torch==2.15.0 numpy==2.4.6 >&2
    mv "$folder.partial" "$folder"
fi
echo "$folder/bin/python"
