#!/bin/sh
# Prints the path of a Python with onnxruntime, installed into the user's cache when first needed.
set -eu
cache=${TINDERBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox}
folder=$cache/onnxruntime-1.22.1
if [ ! -e "$folder/whole" ]; then
    echo "installing onnxruntime into $folder (once, 60 MB to download)" >&2
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/python" -m pip install -q onnxruntime==1.22.1 numpy==2.2.6 >&2
    touch "$folder/whole"
fi
echo "$folder/bin/python"
