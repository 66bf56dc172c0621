package rush_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// table is a new namespace's, that tracks connections and notes when entries were made.
func table(t *testing.T) *rush.Table {
	t.Helper()
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "nft add table inet filter")
	labtest.Run(t, ns, "nft add chain inet filter input { type filter hook input priority 0 ; }")
	labtest.Run(t, ns, "nft add rule inet filter input ct state established accept")
	if err := ns.Sysctl("net/netfilter/nf_conntrack_timestamp", "1"); err != nil {
		t.Fatal(err)
	}
	table, err := rush.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func fill(t *testing.T, table *rush.Table, first, last int) {
	t.Helper()
	if m, err := table.Fill(t.Context(), first, last); err != nil || m.Refused > 0 || m.Begun != last-first {
		t.Fatalf("%+v, %v", m, err)
	}
}

func compare(t *testing.T, a, b *rush.Table) *rush.Comparison {
	t.Helper()
	c, err := rush.Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTablesDifferInWhatWasDone(t *testing.T) {
	a, b := table(t), table(t)
	// Few, for the kernels' clocks of them must not be 5 seconds apart; the last from another address.
	const n, other = 1000, 60000
	fill(t, a, 0, n-1)
	fill(t, a, other, other+1)
	if got, err := a.Count(); err != nil || got != n {
		t.Errorf("%d entries, %v, want %d", got, err, n)
	}
	if c := compare(t, a, b); c.Entries != n || c.Missing != n || c.Extra != 0 || c.Different != 0 {
		t.Errorf("to an empty table: %d entries, %d missing, %d extra, %d differ", c.Entries, c.Missing, c.Extra, c.Different)
	}
	time.Sleep(10 * time.Millisecond) // the copies are to be late
	fill(t, b, 0, n-1)
	fill(t, b, other, other+1)
	c := compare(t, a, b)
	if !c.Equal() || len(c.Late) != n || c.Quantile(0) < 10*time.Millisecond || c.Quantile(0.5) > c.Quantile(1) {
		t.Errorf("same tables: %d missing, %d extra, %d differ: %v; %d late", c.Missing, c.Extra, c.Different, c.Examples, len(c.Late))
	}

	if err := b.Remove(0, 3); err != nil {
		t.Fatal(err)
	}
	fill(t, b, n, n+2)
	old := rush.Established(5)
	if err := errors.Join(b.Update(old.Aged(100)), b.Send()); err != nil {
		t.Fatal(err)
	}
	c = compare(t, a, b)
	if c.Missing != 3 || c.Extra != 2 || c.Different != 1 {
		t.Errorf("%d missing, %d extra, %d differ: want 3, 2, 1", c.Missing, c.Extra, c.Different)
	}
	if diff := cmp.Diff(map[string]int{"timeout": 1}, c.Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Count(); err != nil || got != 0 {
		t.Errorf("%d entries after a flush, %v", got, err)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	a := table(t)
	fill(t, a, 0, 10)
	m, err := a.Fill(t.Context(), 5, 15)
	if err != nil || m.Refused != 5 || !errors.Is(m.Why, syscall.EEXIST) {
		t.Errorf("%+v, %v: want 5 that exist", m, err)
	}
	if !m.Saturated(rush.Load{Rate: 1}) {
		t.Error("refusals are not told as a load that was not made")
	}
}

func TestLivesLeaveEachFifth(t *testing.T) {
	a := table(t)
	m, err := a.Lives(t.Context(), rush.Load{Rate: 1000, Length: 500 * time.Millisecond})
	if err != nil || m.Refused > 0 || m.Begun != 500 {
		t.Fatalf("%+v, %v", m, err)
	}
	if n, err := a.Count(); err != nil || n != 100 {
		t.Errorf("%d entries, %v, want 100 of 500", n, err)
	}
	b := table(t)
	fill(t, b, 0, 1) // it is established too
	if c := compare(t, a, b); c.Different != 0 || c.Missing != 99 || c.Extra != 0 {
		t.Errorf("%d differ: %v, %d missing, %d extra", c.Different, c.Examples, c.Missing, c.Extra)
	}
}

func TestEveryKindIsTaken(t *testing.T) {
	a, b := table(t), table(t)
	for _, x := range []*rush.Table{a, b} {
		if m, err := x.Kinds(t.Context()); err != nil || m.Refused > 0 {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	if c := compare(t, a, b); !c.Equal() || c.Entries != 1500 {
		t.Errorf("%d entries, differing: %v", c.Entries, c.Examples)
	}
}

func TestListenerHearsOfEach(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "nft add table inet filter")
	labtest.Run(t, ns, "nft add chain inet filter input { type filter hook input priority 0 ; }")
	labtest.Run(t, ns, "nft add rule inet filter input ct state established accept")
	a, err := rush.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	l, err := rush.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	heard := make(chan int, 1)
	go func() {
		n, _, err := l.Listen(ctx)
		if err != nil {
			t.Error(err)
		}
		heard <- n
	}()
	time.Sleep(300 * time.Millisecond) // Listen cannot tell that it listens
	fill(t, a, 0, 1000)
	if n := <-heard; n < 1000 {
		t.Errorf("%d events of 1000 new entries", n)
	}
}

// The packets pass the firewall's rules both ways and make the connections they are meant to.
func TestPacketsMakeConnections(t *testing.T) {
	if err := lab.RequireRoot(); err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(t.Context(), lab.Config{Prefix: "pfs-rush"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := rush.NewPackets(t.Context(), l, l.A)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m, err := p.Play(t.Context(), rush.Load{Rate: 300, Length: time.Second})
	if err != nil || m.Begun != 300 || m.Refused > 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	entries, err := l.A.Dump()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, e := range entries {
		if strings.HasPrefix(e.Orig.Src.String(), "198.18.") {
			kind := e.State
			if e.Proto == 17 {
				kind = "UDP"
			}
			if e.SeenReply {
				kind += " answered"
			}
			got[kind]++
		}
	}
	want := map[string]int{"ESTABLISHED answered": 40, "TIME_WAIT answered": 160, "UDP answered": 100}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
