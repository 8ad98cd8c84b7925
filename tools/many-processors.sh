#!/usr/bin/env bash
# How many goroutines a building costs on a machine with 16 processors: knxfleet and
# naive in the rig's emulated machine, 50 simulated buildings each.
#
#   RIG_DIR=../shared/rig tools/many-processors.sh
set -euo pipefail
cd "$(dirname "$0")/.."
rig=$(realpath "${RIG_DIR:?want the folder of the rig\'s scripts}")
export RIG_BASE=${RIG_BASE:-28800} RIG_SMP=${RIG_SMP:-16} RIG_MEM=${RIG_MEM:-3000} RIG_SILENCE=600
files=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; "$rig/down" >/dev/null 2>&1 || true; rm -rf "$files"' EXIT

CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$files/" ./cmd/knxfleet ./cmd/loadtest
gzip -1 "$files/knxfleet" "$files/loadtest"
(cd "$files" && exec python3 -m http.server --bind 127.0.0.1 "$((RIG_BASE + 99))") >/dev/null 2>&1 &
server=$!
"$rig/up" 1 "$files/buildings"
"$rig/ctl" "
	set -e
	nproc
	mkdir -p /tmp/m && cd /tmp/m
	for f in knxfleet loadtest; do wget -q http://10.0.2.2:$((RIG_BASE + 99))/\$f.gz && gunzip \$f.gz && chmod +x \$f; done
	./loadtest compare --knxfleet ./knxfleet --buildings 50 --runs 1 --settle 10s --only goroutines_per_building,threads_per_building,fds_per_building 2>&1
"
