#!/usr/bin/env bash
# How many goroutines, threads and descriptors a building costs on a machine with 16
# processors: knxfleet and naive in the rig's emulated machine, 50 simulated buildings each.
#
#   RIG_DIR=../shared/rig tools/many-processors.sh
#
# The rig's own scripts boot the machine. The static binaries get into it by its initial
# RAM file system, to which a stand-in for QEMU, found first in PATH, appends them.
set -euo pipefail
cd "$(dirname "$0")/.."
rig=$(realpath "${RIG_DIR:?want the folder of the rig\'s scripts}")
export RIG_BASE=${RIG_BASE:-28800} RIG_SMP=${RIG_SMP:-16} RIG_MEM=${RIG_MEM:-3000}
files=$(mktemp -d)
trap '"$rig/down" >/dev/null 2>&1 || true; rm -rf "$files"' EXIT

mkdir -p "$files/root/opt" "$files/bin"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$files/root/opt/" ./cmd/knxfleet ./cmd/loadtest
command -v qemu-system-x86_64 >/dev/null || { apt-get -q update && apt-get -q install -y --no-install-recommends qemu-system-x86; }
qemu=$(command -v qemu-system-x86_64)
. "$rig/common.sh"
cat >"$files/bin/qemu-system-x86_64" <<EOF
#!/bin/sh
(cd "$files/root" && find . | "$RIG_CACHE/tree/bin/busybox" cpio -o -H newc 2>/dev/null) >>"$RUN/initrd"
exec "$qemu" "\$@"
EOF
chmod +x "$files/bin/qemu-system-x86_64"

PATH="$files/bin:$PATH" "$rig/up" 1 "$files/buildings"
vm_run 900 '
	nproc
	mkdir -p /tmp/m && cd /tmp/m && export HOME=/tmp/m
	/opt/loadtest compare --knxfleet /opt/knxfleet --buildings 50 --runs 1 --settle 10s --only goroutines_per_building,threads_per_building,fds_per_building 2>&1
'
