#!/bin/sh
# The daemon, in the foreground; its settings come from ready.sh.
set -eu
: "${PFSYNCD_BIN:?set PFSYNCD_BIN to the path of pfsyncd, with ifconfig and pfsyncctl beside it}"
exec ip netns exec "$NETNS" "$PFSYNCD_BIN" --state-dir "$WORKDIR/state" --log-level warn
