package check

import (
	"github.com/pfsync-linux/pfsync/ifconfig"
)

// deferral judges defer, where it is on.
func (r *report) deferral() {
	if r.PFSync0 == nil || r.PFSync0.PFSync == nil {
		return
	}
	switch r.PFSync0.PFSync.DeferState {
	case ifconfig.DeferWrongOrder:
		r.add(Error, "defer-order", "inet pfsyncd_hold", "defer holds nothing: rules that track connections were loaded before pfsyncd was started, "+
			"and this kernel does not tell of a connection before it is confirmed",
			"start pfsyncd before them: nft flush ruleset, systemctl restart pfsyncd, then load the rules; or use a kernel with NETFILTER_NETLINK_GLUE_CT")
	case ifconfig.DeferFailed:
		r.add(Error, "defer-failed", "pfsync0", "defer holds nothing: the kernel refused the queue or its rules",
			"see the log of pfsyncd; load the modules nfnetlink_queue and nft_queue")
	}
}
