package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// carpPair is two firewalls that have nothing but a document's files in their /etc.
type carpPair struct {
	*lab.Lab
	t     *testing.T
	start []string // netstart's arguments
}

// newCarpPair boots both from testdata/VARIANT/a and b.
func newCarpPair(t *testing.T, variant string, netstart ...string) *carpPair {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := &carpPair{t: t, start: netstart, Lab: labtest.NewLab(ctx, t, lab.Config{Prefix: "pfs-e2e", Bin: bin, Bare: true})}
	watchLogs(t, p.Lab)
	for _, f := range []struct {
		*lab.Firewall
		letter string
	}{{p.A, "a"}, {p.B, "b"}} {
		if err := f.Etc(os.DirFS("testdata/" + variant + "/" + f.letter)); err != nil {
			t.Fatal(err)
		}
		p.boot(f.Firewall)
	}
	return p
}

// boot does what the units do at a start.
func (p *carpPair) boot(f *lab.Firewall) {
	p.t.Helper()
	startDaemon(p.t, f)
	p.run(f, "pfctl", "-f", "/etc/pf.conf")
	p.run(f, "netstart", p.start...)
}

func (p *carpPair) run(f *lab.Firewall, program string, args ...string) string {
	p.t.Helper()
	out, err := f.RunWithEtc(p.t.Context(), program, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// shows is an error unless both carp interfaces of f are in a state.
func (p *carpPair) shows(f *lab.Firewall, state string) error {
	out, err := f.Ifconfig(p.t.Context(), "carp")
	if err != nil {
		return err
	}
	if n := strings.Count(out, "carp: "+state+" "); n != 2 {
		return fmt.Errorf("%s: %d of 2 are %s:\n%s", f.Name, n, state, out)
	}
	return nil
}

// master waits until f has both addresses, and the other, if it lives, has none.
func (p *carpPair) master(f *lab.Firewall) {
	p.t.Helper()
	eventually(p.t, f.Name+" is master", func() error {
		err := p.shows(f, "MASTER")
		for _, other := range []*lab.Firewall{p.A, p.B} {
			if other != f && other.Running() {
				err = errors.Join(err, p.shows(other, "BACKUP"))
			}
		}
		return err
	})
}

// broken is how long something stands still only when a move does not work: TCP, which doubles
// its pauses, adds as much as the move took, and this machine may be busy. `make failover` measures.
const broken = 13 * time.Second

// afterMove waits until data flows on everything by way of f, and bounds the silence.
func (p *carpPair) afterMove(tr *traffic.Traffic, f *lab.Firewall, since time.Time, what string, atMost time.Duration) {
	p.t.Helper()
	p.master(f)
	flowing(p.t, tr)
	stall, of := tr.Stall(since)
	p.t.Logf("%s: longest stall %v (%s), at most %v are wanted", what, stall.Round(time.Millisecond), of, atMost)
	if stall > broken {
		p.t.Errorf("%s: %s stood still for %v", what, of, stall)
	}
}

// tookOver is how often f has become master for that reason.
func tookOver(f *lab.Firewall, why string) int {
	return strings.Count(f.Log(), `to=MASTER why="`+why+`"`)
}

// The EXAMPLES of the documents, typed as they stand: the files are those of the
// customer's copies, byte for byte.
func TestDocumentsExample(t *testing.T) {
	hastened := 0
	for _, c := range []struct {
		variant  string
		forgets  bool // fwA returns with an empty table
		netstart []string
	}{
		{"openbsd", true, nil},
		{"freebsd", false, []string{"-f", "/etc/rc.conf"}},
	} {
		t.Run(c.variant, func(t *testing.T) {
			p := newCarpPair(t, c.variant, c.netstart...)
			liveThroughBothMoves(t, p, c.forgets)
			hastened += tookOver(p.B, "master is silent, and so are the peers of pfsync")
		})
	}
	if hastened == 0 { // on a busy machine it may not be each time
		t.Error("the silence on the sync link hastened no takeover")
	}
}

func liveThroughBothMoves(t *testing.T, p *carpPair, forgets bool) {
	const (
		slow = 4 * time.Second // three times advbase, and one
		fast = time.Second     // where the master says that it goes
	)
	p.master(p.A)
	waitSynced(t, p.A)
	waitSynced(t, p.B)
	tr := startTraffic(t, p.Lab)
	add(t, tr, orFew(1000, 100), traffic.TCP)
	add(t, tr, 50, traffic.UDP, traffic.ICMP)
	eventually(t, "fwB's table like fwA's", func() error { return sameTable(t, p.A, p.B) })

	since := time.Now()
	if err := p.Kill(p.A); err != nil {
		t.Fatal(err)
	}
	p.afterMove(tr, p.B, since, "power cut of fwA", slow)

	since = time.Now()
	if forgets { // as a machine that was without power; else as one whose daemon alone was dead
		if _, err := p.A.Run(t.Context(), "conntrack", "-F"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Reconnect(t.Context(), p.A); err != nil {
		t.Fatal(err)
	}
	p.boot(p.A)
	p.afterMove(tr, p.A, since, "fwA takes over again", slow)
	waitSynced(t, p.A)

	since = time.Now()
	p.run(p.A, "ifconfig", "-g", "carp", "carpdemote", "128")
	p.afterMove(tr, p.B, since, "ifconfig -g carp carpdemote 128", fast)
	since = time.Now()
	p.run(p.A, "ifconfig", "-g", "carp", "-carpdemote", "128")
	p.afterMove(tr, p.A, since, "ifconfig -g carp -carpdemote 128", fast)

	since = time.Now()
	if err := p.A.StopDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.afterMove(tr, p.B, since, "clean stop of fwA", fast)
	if n := tookOver(p.B, "master bowed out"); n != 2 {
		t.Errorf("%d of 2 takeovers for the master that bowed out", n)
	}

	for _, r := range tr.Stop(traffic.Window{}) {
		if r.Resets > 0 || len(r.Errors) > 0 {
			t.Errorf("%v: %d resets, lost: %v", r.Kind, r.Resets, r.Errors)
		}
	}
}
