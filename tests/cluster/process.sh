#!/bin/bash
# process.sh freeze|thaw|kill|stop|start MACHINE PROGRAM
#
# freeze, thaw: SIGSTOP and SIGCONT. kill: SIGKILL; the machine starts it again. stop: SIGKILL, and not started again until start.
# On cp: etcd, kube-apiserver, kube-controller-manager, kube-scheduler. On node-N: containerd, kubelet, kube-proxy.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in network machine; do . "$SCRIPTS/lib/$part.sh"; done
require_root

action=${1:-} member=${2:-} program=${3:-}
folder=$STATE/$member
known=$(find "$folder/pids" "$folder/held" -type f -printf '%f ' 2>/dev/null) || die "process.sh: there is no machine \"$member\""
[[ -n $program && " $known" == *" $program "* ]] || die "process.sh: $member runs no \"$program\", but: $known"

# The number is the machine's own; there is none in the moment between an end and the next start.
signal() {
    local pid
    pid=$(cat "$folder/pids/$program" 2>/dev/null) || die "process.sh: $program of $member does not run at this moment"
    in_machine "$member" kill "-$1" "$pid"
}

runs_no_more() { [ ! -e "$folder/pids/$program" ]; }

case $action in
freeze) signal STOP ;;
thaw) signal CONT ;;
kill) signal KILL ;;
stop)
    touch "$folder/held/$program"
    runs_no_more || signal KILL
    await 10 "$program of $member ends" runs_no_more
    ;;
start) rm -f "$folder/held/$program" ;;
*) die "process.sh: \"$action\" is none of: freeze, thaw, kill, stop, start" ;;
esac
