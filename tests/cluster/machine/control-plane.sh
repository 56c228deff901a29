#!/bin/bash
# Process 1 of the control plane's machine: etcd, the API server, the controllers and the scheduler, each started again when it
# ends.
set -u
. "$(dirname "$0")/../lib/settings.sh"
. "$SCRIPTS/lib/supervise.sh"
# shellcheck disable=SC2034 # Used by supervise.
MEMBER=cp DIR=$STATE/cp

hostname cp
supervise etcd "$SCRIPTS/component/etcd.sh" &
supervise kube-apiserver "$SCRIPTS/component/kube-apiserver.sh" &
# The half of the host's way to the API that is in here; the other one is in up.sh.
supervise relay socat UNIX-LISTEN:"$STATE/api.sock",fork,unlink-early,mode=600 "TCP:127.0.0.1:$API_PORT" &
# They would only complain until it answers.
until curl -sf --cacert "$STATE/pki/ca.crt" "https://127.0.0.1:$API_PORT/readyz" >/dev/null; do sleep 0.2; done
supervise kube-controller-manager "$SCRIPTS/component/kube-controller-manager.sh" &
supervise kube-scheduler "$SCRIPTS/component/kube-scheduler.sh" &
reap_for_ever
