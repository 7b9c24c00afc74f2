#!/bin/sh
# Prints the path of Sail, a server of Spark Connect that is not Spark, installed into the user's cache when first needed.
set -eu
cache=${TINDERBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tinderbox}
folder=$cache/sail-0.7.2
if [ ! -x "$folder/bin/sail" ]; then
    echo "installing Sail into $folder (once, 80 MB to download)" >&2
    # Programs of an environment name its folder, so it is made where it stays, and marked as whole by its last program.
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/python" -m pip install -q pyspark-client==4.2.0 >&2
    "$folder/bin/python" -m pip install -q pysail==0.7.2 >&2
fi
echo "$folder/bin/sail"
