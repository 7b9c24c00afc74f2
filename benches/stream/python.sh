#!/bin/sh
# Prints the Python that the peers run on: PYTHON if set, else an environment in the user's cache, made when first needed.
# `python.sh [NAME PACKAGE…]`; without arguments it has PySpark's Connect client and Pillow.
set -eu
if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
    exit
fi
[ $# -gt 0 ] || set -- bench-peers 'pyspark[connect]==4.2.1' pillow==13.0.0
cache=${TINDERBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox}
folder=$cache/$1
shift
# One at a time: tests that run side by side ask for the same one.
mkdir -p "$cache"
exec 9>"$folder.lock"
! command -v flock >/dev/null || flock 9
if [ ! -x "$folder/bin/python" ]; then
    echo "installing $* into $folder (once)" >&2
    rm -rf "$folder.partial"
    python3 -m venv "$folder.partial" >&2
    "$folder.partial/bin/python" -m pip install -q "$@" >&2
    mv "$folder.partial" "$folder"
fi
echo "$folder/bin/python"
