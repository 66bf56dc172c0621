package conntrack

import (
	"time"

	"github.com/google/nftables"
)

// natTable and natChain name our nftables table of family inet and the chain in it.
const (
	natTable = "pfsyncd"
	natChain = "nat"
)

// hooksTrusted: a check is a question to the kernel, so one a second is enough.
const hooksTrusted = time.Second

// checkNATHooks makes the NAT hooks anew if somebody flushed the ruleset.
func (t *Table) checkNATHooks() {
	if time.Since(t.hooks) < hooksTrusted {
		return
	}
	if _, err := t.nft.ListChain(hooksTable(), natChain); err == nil {
		t.hooks = time.Now()
		return
	}
	t.log.Warn("nat hooks are gone, making them again: do not remove table inet pfsyncd", "table", natTable)
	if t.mute {
		defer t.rememberMute() // it went with the table
	}
	t.ensureNATHooks()
}

// ensureNATHooks makes a table with an empty nat chain, without which the kernel
// translates no entry. It does no harm if they are there. A kernel without
// nftables may have hooks of iptables: then translation works all the same, so a
// failure is said, not fatal.
func (t *Table) ensureNATHooks() {
	t.hooks = time.Now()
	accept := nftables.ChainPolicyAccept
	table := t.nft.AddTable(hooksTable())
	t.nft.AddChain(&nftables.Chain{
		Name:     natChain,
		Table:    table,
		Type:     nftables.ChainTypeNAT,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityNATSource,
		Policy:   &accept,
	})
	if err := t.nft.Flush(); err != nil {
		t.counts.add(natHooksFailed, 1)
		t.log.Error("cannot make nat hooks: translated connections will not work here unless other nat rules exist",
			"table", natTable, "err", err)
		return
	}
	t.counts.add(natHooksMade, 1)
}

func hooksTable() *nftables.Table {
	return &nftables.Table{Name: natTable, Family: nftables.TableFamilyINet}
}
