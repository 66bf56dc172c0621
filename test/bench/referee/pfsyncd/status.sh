#!/bin/sh
# All counters that are not zero, and what is wrong with the peer.
bin=$(dirname "$PFSYNCD_BIN")
ip netns exec "$NETNS" "$bin/pfsyncctl" stats
ip netns exec "$NETNS" "$bin/pfsyncctl" peers
exit 0
