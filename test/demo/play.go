package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

const (
	udpFlows, icmpFlows, serviceFlows = 20, 10, 10

	afterMove  = 5 * time.Second  // how long the flows are watched on fwB
	syncWithin = 20 * time.Second // a bulk request that nobody answered is repeated by then
	readyIn    = 5 * time.Second
	deadAfter  = traffic.Dead
)

// play builds the lab, lets the traffic run through fwA, kills it, and returns what
// became of the flows on fwB.
func (s *story) play(ctx context.Context, pfsync bool) (rows []traffic.Row, err error) {
	l, err := lab.New(ctx, lab.Config{Prefix: namePrefix, Bin: s.bin})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	flows, err := traffic.New(l)
	if err != nil {
		return nil, err
	}
	defer flows.Close()
	s.say("  (look inside with: ip netns exec %s bash)", l.A.Name)

	if pfsync {
		err = s.withPfsync(ctx, l, flows)
	} else {
		err = s.withoutPfsync(ctx, l, flows)
	}
	if err != nil {
		return nil, err
	}
	return s.die(ctx, l, flows)
}

func (s *story) withoutPfsync(ctx context.Context, l *lab.Lab, flows *traffic.Traffic) error {
	s.step("No daemon runs; the same traffic goes through fwA")
	if err := s.addFlows(ctx, flows, s.connections); err != nil {
		return err
	}
	return errors.Join(s.showCount(ctx, l, l.A), s.showCount(ctx, l, l.B))
}

// withPfsync starts half of the connections before fwB joins, so that it needs both
// the bulk update and the live ones.
func (s *story) withPfsync(ctx context.Context, l *lab.Lab, flows *traffic.Traffic) error {
	s.step("fwA starts, half of the connections are made, then fwB joins")
	if err := s.startDaemon(ctx, l, l.A); err != nil {
		return err
	}
	words := []string{"pfsync0", "up", "syncdev", lab.Sync}
	if _, err := l.A.Ifconfig(ctx, words...); err != nil {
		return err
	}
	s.typed("fwA", "ifconfig "+strings.Join(words, " "), "")
	captures, err := startCaptures(ctx, l)
	if err != nil {
		return err
	}
	defer captures.stop()

	if err := flows.Add(traffic.TCP, s.connections/2); err != nil {
		return err
	}
	s.say("  %d TCP connections from the client to the server are open", s.connections/2)
	if err := s.joinB(ctx, l); err != nil {
		return err
	}
	if err := s.addFlows(ctx, flows, s.connections-s.connections/2); err != nil {
		return err
	}
	if err := s.waitIdentical(ctx, l); err != nil {
		return err
	}
	return s.operatorsView(ctx, l, captures)
}

func (s *story) startDaemon(ctx context.Context, l *lab.Lab, f *lab.Firewall) error {
	if err := f.StartDaemon(); err != nil {
		return err
	}
	s.typed(host(l, f), "pfsyncd --state-dir "+f.StateDir()+" &", "")
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	return f.WaitReady(ctx)
}

func (s *story) joinB(ctx context.Context, l *lab.Lab) error {
	if err := s.startDaemon(ctx, l, l.B); err != nil {
		return err
	}
	line := "up syncdev " + lab.Sync
	if err := l.B.Netstart(ctx, "pfsync0", line); err != nil {
		return err
	}
	file := l.B.HostnameFile("pfsync0")
	s.typed("fwB", "cat "+file, line)
	s.typed("fwB", "netstart -C "+strings.TrimSuffix(file, "/hostname.pfsync0")+" pfsync0", "")
	joined := time.Now()
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	for _, f := range []*lab.Firewall{l.B, l.A} {
		if err := f.WaitSynced(ctx); err != nil {
			return err
		}
		s.say("  %s has its bulk update after %s", host(l, f), milliseconds(time.Since(joined)))
	}
	return nil
}

// addFlows starts the TCP connections and all other kinds, and waits until data moves on each.
func (s *story) addFlows(ctx context.Context, flows *traffic.Traffic, tcp int) error {
	for _, k := range []struct {
		kind traffic.Kind
		n    int
	}{
		{traffic.TCP, tcp}, {traffic.Service, serviceFlows}, {traffic.UDP, udpFlows}, {traffic.ICMP, icmpFlows},
	} {
		if err := flows.Add(k.kind, k.n); err != nil {
			return err
		}
	}
	now := time.Now()
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	if err := lab.Eventually(ctx, "traffic through fwA", func() error { return flows.Flowing(now) }); err != nil {
		return err
	}
	s.say("  %d TCP connections, %d to the service behind 10.0.0.1:8080, %d UDP streams and %d pings run,\n  data moving on each of them, both ways on TCP",
		s.connections, serviceFlows, udpFlows, icmpFlows)
	return nil
}

// waitIdentical waits until fwB has every flow of fwA. If that does not come, the
// flows' fate will show it.
func (s *story) waitIdentical(ctx context.Context, l *lab.Lab) error {
	wait, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	err := lab.Eventually(wait, "fwB's table", func() error {
		missing, total, err := compare(wait, l)
		if err == nil && missing > 0 {
			err = fmt.Errorf("%d of fwA's %d states are missing on fwB", missing, total)
		}
		return err
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.say("  NOT IN SYNC: %v", err)
		return nil
	}
	s.say("  fwB's kernel has every state of fwA's")
	return nil
}

// compare counts fwA's states through the firewall and those that fwB does not have
// with both tuples and the same TCP state.
func compare(ctx context.Context, l *lab.Lab) (missing, total int, err error) {
	a, err := l.A.Entries(ctx)
	if err != nil {
		return 0, 0, err
	}
	b, err := l.B.Entries(ctx)
	if err != nil {
		return 0, 0, err
	}
	type identity struct {
		orig, reply lab.Tuple
		state       string
	}
	has := map[identity]bool{}
	for _, e := range b {
		has[identity{e.Orig, e.Reply, e.State}] = true
	}
	for _, e := range a {
		if !has[identity{e.Orig, e.Reply, e.State}] {
			missing++
		}
	}
	return missing, len(a), nil
}

func (s *story) operatorsView(ctx context.Context, l *lab.Lab, c *captures) error {
	s.step("What the operator sees")
	if err := errors.Join(s.showFirewall(ctx, l, l.A), s.showFirewall(ctx, l, l.B)); err != nil {
		return err
	}
	return c.show(ctx, s)
}

// die kills fwA, moves the shared addresses, and watches.
func (s *story) die(ctx context.Context, l *lab.Lab, flows *traffic.Traffic) ([]traffic.Row, error) {
	s.step("fwA dies")
	what := "the cables of sis0, sis1 and sis2 cut"
	if l.A.Running() {
		what = fmt.Sprintf("kill -9 %d (pfsyncd), and in the same moment %s", l.A.Pid(), what)
	}
	var move traffic.Window
	move.From = time.Now()
	if err := l.Kill(l.A); err != nil {
		return nil, err
	}
	dead := time.Since(move.From)
	if err := l.MoveTo(l.B); err != nil {
		return nil, err
	}
	move.To = time.Now()
	s.say("  %7s  %s", milliseconds(dead), what)
	s.say("  %7s  10.0.0.1 and 192.168.0.1 are on fwB, and announced", milliseconds(move.To.Sub(move.From)))

	select {
	case <-time.After(afterMove):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	rows := flows.Stop(move)
	s.say("  %7s  traffic stopped; what became of it:", milliseconds(time.Since(move.From)))
	for _, r := range rows {
		s.say("           %-26s %3d of %3d survived; longest stall from %s to %s",
			r.Kind, r.Survived, r.Flows, milliseconds(r.Stall.From.Sub(move.From)), milliseconds(r.Stall.To.Sub(move.From)))
		for _, err := range r.Errors[:min(3, len(r.Errors))] {
			s.say("             %v", err)
		}
	}
	return rows, nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
