package e2e_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// undemoted is an error as long as something demotes f.
func (p *carpPair) undemoted(f *lab.Firewall) error {
	return p.demotedBy(f, "carp: demotion 0\nnothing demotes this firewall\n")
}

// demotedBy is an error unless pfsyncctl demotion says that.
func (p *carpPair) demotedBy(f *lab.Firewall, want string) error {
	out, err := f.RunWithEtc(p.t.Context(), "pfsyncctl", "demotion")
	if err == nil && out != want {
		err = fmt.Errorf("%s: %s", f.Name, out)
	}
	return err
}

// changes counts f's changes of state.
func (p *carpPair) changes(f *lab.Firewall) (n uint64) {
	p.t.Helper()
	var shown struct {
		Interfaces []struct {
			Carp []struct {
				Changes uint64 `json:"changes"`
			} `json:"carp"`
		} `json:"interfaces"`
	}
	if err := json.Unmarshal([]byte(p.run(f, "ifconfig", "--json", "carp")), &shown); err != nil {
		p.t.Fatal(err)
	}
	for _, i := range shown.Interfaces {
		for _, v := range i.Carp {
			n += v.Changes
		}
	}
	return n
}

// The backup is started anew, and the sync link is gone meanwhile: that demotes the master by 1, which stays
// master, and in the end nothing demotes anybody.
func TestRebootOfTheBackupLeavesTheMasterAlone(t *testing.T) {
	p := newCarpPair(t, "openbsd")
	p.master(p.A)
	waitSynced(t, p.A)
	waitSynced(t, p.B)
	for _, f := range []*lab.Firewall{p.A, p.B} {
		eventually(t, "no demotion at the start", func() error { return p.undemoted(f) })
	}
	before := p.changes(p.A)
	if before != 4 { // two interfaces, each backup and then master
		t.Errorf("the master has changed its state %d times", before)
	}
	for range 2 {
		if err := p.Kill(p.B); err != nil {
			t.Fatal(err)
		}
		eventually(t, "demotion by the link", func() error { return p.demotedBy(p.A, "carp: demotion 1\n\t1 pfsync link\n") })
		if err := p.Reconnect(t.Context(), p.B); err != nil {
			t.Fatal(err)
		}
		p.boot(p.B)
		p.master(p.A)
		waitSynced(t, p.B)
		for _, f := range []*lab.Firewall{p.A, p.B} {
			eventually(t, "the end of all demotion", func() error { return p.undemoted(f) })
		}
	}
	if after := p.changes(p.A); after != before {
		t.Errorf("the master changed its state %d times", after-before)
	}
}

// The master itself is started anew: it comes back as a backup that knows why, and as the master when it has the states.
func TestRebootOfTheMasterLeavesNoDemotion(t *testing.T) {
	p := newCarpPair(t, "openbsd")
	p.master(p.A)
	waitSynced(t, p.B)
	if err := p.Kill(p.A); err != nil {
		t.Fatal(err)
	}
	p.master(p.B)
	if err := p.Reconnect(t.Context(), p.A); err != nil {
		t.Fatal(err)
	}
	p.boot(p.A)
	waitSynced(t, p.A)
	p.master(p.A)
	for _, f := range []*lab.Firewall{p.A, p.B} {
		eventually(t, "the end of all demotion", func() error { return p.undemoted(f) })
	}
}
