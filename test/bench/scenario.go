package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// scenario is one row group of the table.
type scenario struct {
	name string
	reps int
	// cost is what one trial takes at most, for leaving out what does not fit any more.
	cost  time.Duration
	alone bool // of the kernel, without a daemon
	run   func(ctx context.Context, p *pair) error
}

// wanted tells whether the name holds one of the words.
func (s scenario) wanted(words []string) bool {
	for _, w := range words {
		if strings.Contains(s.name, w) {
			return true
		}
	}
	return len(words) == 0
}

// limits are how long the plans may take.
var limits = map[string]time.Duration{"short": 6 * time.Minute, "full": time.Hour, "scale": 30 * time.Minute, "defer": 4 * time.Minute}

// plan is the scenarios of a plan in their order.
func plan(name string) ([]scenario, error) {
	const s = time.Second
	rates := []int{20000, 40000, 60000, 80000, 100000, 120000, 150000}
	switch name {
	case "short":
		return []scenario{
			walls(100000),
			created(1000, s, 3), created(10000, s, 3),
			lives(10000, s, 3), packets(10000, s, 3),
			joins(100000, 3), ramp(rates, s, 1), joins(500000, 1),
			kinds(1), rejoins(20000, 1), loss(2000, 2*s, 1), cut(1000, 1),
		}, nil
	case "full":
		return []scenario{
			walls(300000),
			created(1000, 2*s, 5), created(5000, 2*s, 5), created(20000, 2*s, 5),
			lives(2000, 2*s, 3), lives(10000, 2*s, 5), lives(30000, 2*s, 3),
			packets(2000, 2*s, 3), packets(10000, 2*s, 5), packets(30000, 2*s, 3),
			joins(10000, 5), joins(100000, 5), joins(500000, 3),
			kinds(3), loss(2000, 2*s, 3), cut(1000, 3), rejoins(20000, 3),
			ramp(rates, 2*s, 3),
		}, nil
	case "scale":
		return []scenario{
			walls(300000), large(250000, 3), large(500000, 3), large(1000000, 3), large(2000000, 1),
		}, nil
	case "defer":
		return []scenario{
			firstPackets("on an idle link", 4*s, 3, rush.Load{}, nil),
			firstPackets("beside 2000 tcp lives/s", 4*s, 3, rush.Load{Rate: 2000}, lifeless),
			firstPackets("among 2000/s", 4*s, 3, rush.Load{Rate: 2000}, forwarded),
			heldRamp([]int{1000, 2000, 4000, 6000, 8000, 10000, 12000, 16000, 24000, 32000}, s, 3),
		}, nil
	}
	return nil, fmt.Errorf("plan %s: unknown, choose short, full, scale or defer", name)
}

// created: established TCP connections appear in A at a rate, and stay.
func created(rate int, length time.Duration, reps int) scenario {
	l := rush.Load{Rate: rate, Length: length}
	return scenario{name: fmt.Sprintf("new states %d/s", rate), reps: reps, cost: length + 10*time.Second,
		run: func(ctx context.Context, p *pair) error {
			return p.steady(ctx, l, p.a.New, 3*time.Second)
		}}
}

// lives: TCP connections are born, grow old and die in A's table.
func lives(rate int, length time.Duration, reps int) scenario {
	l := rush.Load{Rate: rate, Length: length}
	return scenario{name: fmt.Sprintf("tcp lives %d/s", rate), reps: reps, cost: length + 10*time.Second,
		run: func(ctx context.Context, p *pair) error {
			return p.steady(ctx, l, p.a.Lives, 3*time.Second)
		}}
}

// packets: the kernel of A makes the connections of packets that it forwards.
func packets(rate int, length time.Duration, reps int) scenario {
	l := rush.Load{Rate: rate, Length: length}
	return scenario{name: fmt.Sprintf("real packets %d/s", rate), reps: reps, cost: length + 10*time.Second,
		run: func(ctx context.Context, p *pair) error {
			return p.steady(ctx, l, p.packets.Play, 3*time.Second)
		}}
}

// kinds: a hundred connections of each of 15 kinds.
func kinds(reps int) scenario {
	return scenario{name: "every kind", reps: reps, cost: 10 * time.Second,
		run: func(ctx context.Context, p *pair) error {
			if err := p.both(ctx); err != nil {
				return err
			}
			m, err := p.a.Kinds(ctx)
			if err != nil {
				return err
			}
			if m.Refused > 0 {
				p.trial.doubt("the kernel refused %d of the generator's entries: %v", m.Refused, m.Why)
			}
			if _, err := p.filled(ctx, time.Second, 5*time.Second); err != nil {
				return err
			}
			if err := pause(ctx, grace); err != nil {
				return err
			}
			_, err = p.compare()
			return err
		}}
}

// grace is what a daemon that waits for more before it sends has, before tables are compared.
const grace = 1200 * time.Millisecond

// steady runs a load and measures what it cost, how late copies were and whether they are right.
func (p *pair) steady(ctx context.Context, l rush.Load, load func(context.Context, rush.Load) (rush.Made, error), idle time.Duration) error {
	if err := p.both(ctx); err != nil {
		return err
	}
	if err := p.profile(ctx, l.Length+3*time.Second); err != nil {
		return err
	}
	before, err := p.mark()
	if err != nil {
		return err
	}
	made, err := load(ctx, l)
	if err != nil {
		return err
	}
	p.trial.made(made, l)
	drain, err := p.filled(ctx, idle, 12*time.Second)
	if err != nil {
		return err
	}
	after, err := p.mark()
	if err != nil {
		return err
	}
	n, wire := float64(made.Begun), after.wire.Sub(before.wire)
	f := p.trial.Figures
	f["drain s"] = drain.Seconds()
	f["cpu primary s/1k"], f["cpu backup s/1k"] = (after.primary-before.primary)/n*1000, (after.backup-before.backup)/n*1000
	f["cpu s/1k"] = f["cpu primary s/1k"] + f["cpu backup s/1k"]
	f["wire packets/conn"], f["wire bytes/conn"] = float64(wire.Frames)/n, float64(wire.Bytes)/n
	if err := pause(ctx, grace); err != nil {
		return err
	}
	c, err := p.compare()
	if err != nil {
		return err
	}
	if len(c.Late) > 0 {
		for name, q := range map[string]float64{"p50 ms": 0.5, "p99 ms": 0.99, "max ms": 1} {
			f[name] = float64(c.Quantile(q).Nanoseconds()) / 1e6
		}
	}
	return nil
}
