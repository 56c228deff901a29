#!/bin/bash
# The scheduler, with its defaults.
. "$(dirname "$0")/../lib/settings.sh"
CONF=$STATE/pki/kube-scheduler.conf
exec "$STATE/bin/kube-scheduler" --v=1 --leader-elect=false \
    --kubeconfig="$CONF" --authentication-kubeconfig="$CONF" --authorization-kubeconfig="$CONF"
