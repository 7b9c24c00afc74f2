# Runs a server for as long as its owner lives.
#
#   sh -c "$this_file" name FOLDER COMMAND...
#
# The owner holds the writing end of this shell's standard input. Whatever ends the owner (a return, a panic, a signal
# that cannot be caught) closes that pipe, and the server and FOLDER go with it. Should the server end first, its status
# is left in FOLDER/exit for the owner to read.
folder=$1
shift
exec 3<&0 </dev/null
cd "$folder/work" || exit 1

# The process id is there before the server can say anything.
sh -c 'echo "$$" >"$0" && exec "$@"' "$folder/pid" "$@" 3<&- >"$folder/spark.log" 2>&1 &
server=$!

# The exit file guards against a process id that was given to another process in the meantime.
{
    cat <&3
    [ -e "$folder/exit" ] || kill -KILL "$server"
} >/dev/null 2>&1 &
owner=$!
exec 3<&-

wait "$server" 2>/dev/null
echo "$?" >"$folder/exit"
wait "$owner"

# What is left of this process group: a launcher caught half-way.
trap '' TERM
kill -TERM 0
rm -rf "$folder"
