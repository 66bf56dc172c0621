#!/bin/sh
# Once the daemon takes commands, bring pfsync0 up. A backup asks for its peer's states by
# that, some hundredths of a second before join.sh would. A primary is ready
# when it has read its kernel's states, as conntrackd is; some entries may be none of those shared.
set -eu
cd "$(dirname "$PFSYNCD_BIN")"
here() { ip netns exec "$NETNS" "$@" 2>/dev/null; }
if [ ! -e "$WORKDIR/up" ]; then
	here ./ifconfig pfsync0 up syncdev "$SYNC_IF" >/dev/null
	touch "$WORKDIR/up"
fi
[ "$ROLE" = primary ] || exit 0
entries=$(here cat /proc/sys/net/netfilter/nf_conntrack_count)
held=$(here ./pfsyncctl status --json | tr -d ' \t\n' | sed 's/.*"local":\([0-9]*\).*/\1/')
[ $((held + 100)) -ge "$entries" ]
