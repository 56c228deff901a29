#!/bin/bash
# etcd, for this cluster's API server alone. Its data need not survive a power cut, so it does not wait for disks.
. "$(dirname "$0")/../lib/settings.sh"
exec "$STATE/bin/etcd" --name cp --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster cp=http://127.0.0.1:2380
