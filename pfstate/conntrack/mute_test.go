package conntrack_test

import (
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// muted gives a network with one UDP flow whose entry was made while no events
// were. (With the sysctl at 2, listeners of others anywhere on the machine would
// have them made.)
func muted(t *testing.T) (network, *udp) {
	t.Helper()
	n := openNetwork(t)
	events(t, n.router, "0")
	u := n.newUDP(t, false)
	u.must(u.ask())
	return n, u
}

func events(t *testing.T, ns *lab.NS, value string) {
	t.Helper()
	if err := ns.Sysctl("net/netfilter/nf_conntrack_events", value); err != nil {
		t.Fatal(err)
	}
}

// mute asks what the table says of itself.
func mute(h *tabletest.Harness) bool {
	h.T.Helper()
	h.Write(pfstate.Write{Kind: pfstate.WriteDump})
	said := h.Until(pfstate.DumpBegin)
	h.Until(pfstate.DumpEnd)
	return said[len(said)-1].Mute
}

// TestMuteEntriesAreAnnounced: their changes and their end are never reported,
// only dumps and probes show them.
func TestMuteEntriesAreAnnounced(t *testing.T) {
	n, old := muted(t)
	k := openKernel(t, n.router)
	h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
	if !mute(h) {
		t.Fatal("dump: not mute")
	}
	seen := h.Dump()
	if len(seen) != 1 || seen[0].State.Dst.State != pfstate.NoTraffic {
		t.Fatalf("%d states seen, want the one flow, not answered", len(seen))
	}
	s := seen[0].State
	// A new flow speaks; what the mute one does before is not heard.
	fresh := n.newUDP(t, true)
	old.must(old.answer())
	fresh.must(fresh.ask())
	if c := h.Want(pfstate.Created); c.State.Wire == s.Wire {
		t.Errorf("%v: created", &c.State)
	}
	if got := h.Probe(s); got == nil || got.State.Dst.State != pfstate.Single {
		t.Errorf("probe of the mute entry: %v, want it answered", got)
	}
	k.flush()
	if c := h.Want(pfstate.Deleted); c.State.Wire == s.Wire {
		t.Error("the mute entry spoke at its end: this test proves nothing")
	}
	if h.Probe(s) != nil {
		t.Error("the mute entry is there after a flush")
	}
	h.Apply(pfstate.WriteInsert, tabletest.TCP(1), 0)
	if !mute(h) {
		t.Error("not mute any more, though what was there at the beginning is never known to be gone")
	}
}

// TestMutenessOutlivesTheDaemon: the next one finds the sysctl set, and the mute
// entries still there.
func TestMutenessOutlivesTheDaemon(t *testing.T) {
	n, _ := muted(t)
	k := openKernel(t, n.router)
	for round := range 3 {
		h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
		if !mute(h) {
			t.Errorf("daemon %d: not mute", round)
		}
		if round == 1 { // the firewall's rules are loaded anew, and our table goes with them
			labtest.Run(t, n.router, "nft flush ruleset")
			late := time.NewTimer(1100 * time.Millisecond) // checked once a second at most
			<-late.C
			h.Apply(pfstate.WriteInsert, tabletest.Translated(tabletest.TCP(1), 5000), 0)
		}
		h.Stop()
	}
	k.flush()
	h := tabletest.Start(t, open(t, n.router, conntrack.Config{}))
	if mute(h) {
		t.Error("an empty table is mute")
	}
	h.Apply(pfstate.WriteInsert, tabletest.TCP(1), 0)
	h.Stop()
	if mute(tabletest.Start(t, open(t, n.router, conntrack.Config{}))) {
		t.Error("mute, though the table was empty in between")
	}
}

// TestWhoTellsAllIsNotMute: by the sysctl and what is in the table when it is opened.
func TestWhoTellsAllIsNotMute(t *testing.T) {
	for name, c := range map[string]struct {
		events string
		filled bool
		want   bool
	}{
		"on, filled": {"1", true, false}, "on, empty": {"1", false, false},
		"autodetect, filled": {"2", true, true}, "autodetect, empty": {"2", false, false},
		"off, filled": {"0", true, true}, "off, empty": {"0", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			ns := labtest.NewNS(t)
			k := openKernel(t, ns)
			events(t, ns, c.events)
			if c.filled {
				if err := k.Create(tabletest.TCP(1)); err != nil {
					t.Fatal(err)
				}
			}
			if got := mute(tabletest.Start(t, open(t, ns, conntrack.Config{}))); got != c.want {
				t.Errorf("mute %v, want %v", got, c.want)
			}
		})
	}
}
