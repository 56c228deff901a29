# shellcheck shell=bash
# Keeps the programs of a machine running; sourced by the scripts of machine/. $DIR is the machine's folder.

# Pause before what ended is started again: long enough to keep a program that cannot start from eating a core.
RESTART_PAUSE=0.5

# supervise NAME COMMAND...: runs it for ever. Its process id, as the machine numbers it, is in $DIR/pids/NAME while it runs; while
# there is a file $DIR/held/NAME it is not started again (process.sh stop).
supervise() {
    local name=$1 pid status
    shift
    mkdir -p "$DIR/pids" "$DIR/held"
    while :; do
        while [ -e "$DIR/held/$name" ]; do sleep 0.1; done
        "$@" >>"$LOG/$MEMBER-$name.log" 2>&1 &
        pid=$!
        echo $pid >"$DIR/pids/$name"
        wait $pid && status=0 || status=$?
        rm -f "$DIR/pids/$name"
        echo "== $name ended with $status at $(date +%T)" >>"$LOG/$MEMBER-$name.log"
        sleep $RESTART_PAUSE
    done
}

# Process 1's own work: to reap whatever is left to it.
reap_for_ever() {
    while :; do wait -n || sleep 1; done
}
