#!/bin/sh
# Prints the Python that the peers run on: PYTHON if set, else an environment in the user's cache with PySpark's Connect
# client and Pillow, made when first needed.
set -eu
if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
    exit
fi
cache=${TINDERBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox}
folder=$cache/bench-peers
if [ ! -x "$folder/bin/python" ]; then
    echo "installing PySpark's Connect client and Pillow into $folder (once, 600 MB to download)" >&2
    rm -rf "$folder.partial"
    python3 -m venv "$folder.partial" >&2
    "$folder.partial/bin/python" -m pip install -q 'pyspark[connect]==4.2.1' pillow==13.0.0 >&2
    mv "$folder.partial" "$folder"
fi
echo "$folder/bin/python"
