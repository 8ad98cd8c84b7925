#!/usr/bin/env bash
# go test -race with the arguments given, and once more where nothing was found and the
# detector itself failed: in bubbles of testing/synctest it does, rarely
# (golang/go#78156, Go 1.26). What passed comes from the cache then.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
${GO:-go} test -race "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" != 0 ] && grep -q 'ThreadSanitizer: CHECK failed' "$log" && ! grep -qE '^ *--- FAIL|WARNING: DATA RACE|^panic:|^fatal error:' "$log"; then
	echo 'the race detector itself failed; once more'
	${GO:-go} test -race "$@"
	status=$?
fi
exit "$status"
