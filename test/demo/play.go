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

	syncWithin = 20 * time.Second // a bulk request that nobody answered is repeated by then
	electedIn  = 10 * time.Second // carp needs three times advbase, which is a second, and a little
	readyIn    = 5 * time.Second
	deadAfter  = traffic.Dead
)

// play builds the lab, lets the traffic run through fwA, kills it, and returns what
// became of the flows on fwB, and with pfsync on fwA again.
func (s *story) play(ctx context.Context, pfsync bool) (rows []traffic.Row, err error) {
	l, err := lab.New(ctx, lab.Config{Prefix: namePrefix, Bin: s.bin, Bare: true})
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

	p := &pair{Lab: l, s: s, pfsync: pfsync}
	if pfsync {
		err = p.withPfsync(ctx, flows)
	} else {
		err = p.withoutPfsync(ctx, flows)
	}
	if err != nil {
		return nil, err
	}
	move, err := p.die(ctx, flows)
	if err == nil && pfsync {
		err = p.comeBack(ctx, flows)
	}
	if err != nil {
		return nil, err
	}
	rows = flows.Stop(move)
	s.say("  traffic stopped; what became of it:")
	for _, r := range rows {
		s.say("    %-26s %3d of %3d survived; longest stall from %s to %s after fwA's death",
			r.Kind, r.Survived, r.Flows, milliseconds(r.Stall.From.Sub(move.From)), milliseconds(r.Stall.To.Sub(move.From)))
		for _, err := range r.Errors[:min(3, len(r.Errors))] {
			s.say("      %v", err)
		}
	}
	return rows, nil
}

// start boots both and waits until fwA has the addresses.
func (p *pair) start(ctx context.Context) error {
	if err := p.install(); err != nil {
		return err
	}
	began := time.Now()
	for _, f := range []*lab.Firewall{p.A, p.B} {
		if err := p.boot(ctx, f); err != nil {
			return err
		}
	}
	if err := p.waitMaster(ctx, p.A); err != nil {
		return err
	}
	p.s.say("  fwA is master of both addresses after %s", milliseconds(time.Since(began)))
	if !p.pfsync {
		return nil
	}
	return p.waitSynced(ctx, began)
}

func (p *pair) withoutPfsync(ctx context.Context, flows *traffic.Traffic) error {
	p.s.step("carp alone: hostname.pfsync0 is left out")
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.s.addFlows(ctx, flows); err != nil {
		return err
	}
	return errors.Join(p.s.showCount(ctx, p.Lab, p.A), p.s.showCount(ctx, p.Lab, p.B))
}

func (p *pair) withPfsync(ctx context.Context, flows *traffic.Traffic) error {
	p.s.step("Both start, with the files of pfsync(4)'s example as they stand there")
	if err := p.start(ctx); err != nil {
		return err
	}
	captures, err := startCaptures(ctx, p.Lab)
	if err != nil {
		return err
	}
	defer captures.stop()
	if err := p.s.addFlows(ctx, flows); err != nil {
		return err
	}
	if err := p.s.waitIdentical(ctx, p.Lab); err != nil {
		return err
	}
	p.s.step("What the operator sees")
	if err := p.showCarp(ctx, p.A, p.B); err != nil {
		return err
	}
	if err := p.s.showPfsync(ctx, p.Lab, p.A); err != nil {
		return err
	}
	if err := errors.Join(p.s.showCount(ctx, p.Lab, p.A), p.s.showCount(ctx, p.Lab, p.B)); err != nil {
		return err
	}
	return captures.show(ctx, p.s)
}

// addFlows starts flows of all kinds, and waits until data moves on each.
func (s *story) addFlows(ctx context.Context, flows *traffic.Traffic) error {
	for _, k := range []struct {
		kind traffic.Kind
		n    int
	}{
		{traffic.TCP, s.connections}, {traffic.Service, serviceFlows}, {traffic.UDP, udpFlows}, {traffic.ICMP, icmpFlows},
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

// die kills fwA and waits until fwB has taken over by itself and, with pfsync, every flow goes
// on. It returns the time in which no flow is expected to move: TCP asks again after twice as
// long each time, so it may sleep for as long as nobody was there once more.
func (p *pair) die(ctx context.Context, flows *traffic.Traffic) (move traffic.Window, err error) {
	s := p.s
	s.step("fwA dies")
	pid := p.A.Pid()
	move.From = time.Now()
	if err := p.Kill(p.A); err != nil {
		return move, err
	}
	s.say("  %7s  kill -9 %d (pfsyncd), and in the same moment the cables of sis0, sis1 and sis2 cut", milliseconds(time.Since(move.From)), pid)
	if err := p.waitMaster(ctx, p.B); err != nil {
		return move, err
	}
	taken := time.Now()
	outage := taken.Sub(move.From)
	move.To = taken.Add(outage)
	s.say("  %7s  fwB heard no advert of fwA's for three seconds, and is master of both addresses", milliseconds(outage))
	if p.pfsync {
		if err := p.showCarp(ctx, p.B); err != nil {
			return move, err
		}
	}
	const certainly = time.Second // beyond what would be a survivor's
	wait, cancel := context.WithDeadline(ctx, move.To.Add(deadAfter+certainly))
	defer cancel()
	var last error
	err = lab.Eventually(wait, "data on every flow", func() error {
		last = flows.Flowing(taken)
		return last
	})
	switch {
	case ctx.Err() != nil:
		return move, context.Cause(ctx)
	case err != nil:
		s.say("  %7s  not every flow goes on: %v", milliseconds(time.Since(move.From)), last)
	default:
		s.say("  %7s  data moves on every flow again", milliseconds(time.Since(move.From)))
	}
	return move, nil
}

// comeBack starts fwA again. A machine that was without power remembers no connection, and has
// no interfaces but those of its hardware.
func (p *pair) comeBack(ctx context.Context, flows *traffic.Traffic) error {
	p.s.step("fwA comes back with an empty table")
	for _, forget := range []string{"conntrack -F", "ip link delete dev carp0", "ip link delete dev carp1"} {
		words := strings.Fields(forget)
		if _, err := p.A.Run(ctx, words[0], words[1:]...); err != nil {
			return err
		}
	}
	plugged := time.Now()
	if err := p.Reconnect(ctx, p.A); err != nil {
		return err
	}
	began := time.Now()
	if err := p.boot(ctx, p.A); err != nil {
		return err
	}
	if err := p.waitMaster(ctx, p.A); err != nil {
		return err
	}
	taken := time.Now()
	n, err := p.A.CountEntries(ctx)
	if err != nil {
		return err
	}
	p.s.say("  fwA is master again after %s, and has %d states", milliseconds(taken.Sub(began)), n)
	if err := p.showStatus(ctx, p.A, p.B); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	if err := lab.Eventually(wait, "data on every flow", func() error { return flows.Flowing(taken) }); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		p.s.say("  NOT EVERY FLOW GOES ON: %v", err)
	}
	stall, of := flows.Stall(plugged)
	p.s.say("  the longest that a flow stood still meanwhile: %s (%s)", milliseconds(stall), of)
	return nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
