package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pfsync-linux/pfsync/sync/engine"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/rival"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// startFirst starts pfsyncd before the firewall's rules are loaded, which defer needs on a
// kernel that does not give a queue's reader the connection.
func startFirst(pprof bool) func(context.Context, *lab.Firewall) error {
	start := startPfsyncd(pprof)
	return func(ctx context.Context, f *lab.Firewall) error {
		if err := f.FlushRules(ctx); err != nil {
			return err
		}
		if err := start(ctx, f); err != nil {
			return err
		}
		return errors.Join(f.LoadRules(ctx), rival.Prepare(ctx, f))
	}
}

func upWithDefer(ctx context.Context, f *lab.Firewall) error {
	_, err := f.Ifconfig(ctx, "pfsync0", "up", "syncdev", lab.Sync, "defer")
	return err
}

// holding waits until A holds first packets, if the contestant does that.
func (p *pair) holding(ctx context.Context) error {
	if !p.contestant.defers {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	return lab.Eventually(ctx, "first packets are held", func() error {
		out, err := p.lab.A.Ifconfig(ctx, "pfsync0")
		if err != nil {
			return err
		}
		if !strings.Contains(out, "defer: ready") && !strings.Contains(out, "defer: holding") {
			return fmt.Errorf("ifconfig shows: %s", out)
		}
		return nil
	})
}

// firstPackets: TCP connections are made through A one after the other, connectEvery, while
// something else loads it. load may be nil.
func firstPackets(what string, length time.Duration, reps int, l rush.Load, load func(*pair, context.Context, rush.Load) (rush.Made, error)) scenario {
	l.Length = length
	return scenario{name: "first packets " + what, reps: reps, cost: length + 12*time.Second,
		run: func(ctx context.Context, p *pair) error {
			if err := p.both(ctx); err != nil {
				return err
			}
			if err := p.holding(ctx); err != nil {
				return err
			}
			tr, err := traffic.New(p.lab)
			if err != nil {
				return err
			}
			defer tr.Close()
			if _, err := tr.Connects(traffic.TCP, 20, 1); err != nil { // neighbours are found, memory is there
				return err
			}
			if err := p.profile(ctx, length+time.Second); err != nil {
				return err
			}
			counted, err := p.counted(ctx)
			if err != nil {
				return err
			}
			before, err := p.mark()
			if err != nil {
				return err
			}
			group, loading := errgroup.WithContext(ctx)
			if load != nil {
				group.Go(func() error {
					made, err := load(p, loading, l)
					if err == nil {
						p.trial.made(made, l)
					}
					return err
				})
			}
			c, err := connectFor(ctx, tr, length)
			if err != nil {
				return errors.Join(err, group.Wait())
			}
			after, err := p.mark()
			if err = errors.Join(err, group.Wait()); err != nil {
				return err
			}
			f, took := p.trial.Figures, after.at.Sub(before.at).Seconds()
			f["connections"], f["lost"], f["SYNs again"] = float64(len(c.Opened)), float64(c.Lost), float64(c.SYNs)
			f["connected p50 ms"], f["connected p99 ms"] = ms(traffic.Quantile(c.Opened, 0.5)), ms(traffic.Quantile(c.Opened, 0.99))
			f["cpu primary ms/s"], f["cpu backup ms/s"] = (after.primary-before.primary)/took*1000, (after.backup-before.backup)/took*1000
			return p.heldSince(ctx, counted, f)
		}}
}

// lifeless: entries come and go in A's table, without packets.
func lifeless(p *pair, ctx context.Context, l rush.Load) (rush.Made, error) { return p.a.Lives(ctx, l) }

// forwarded: what loads A has first packets as well.
func forwarded(p *pair, ctx context.Context, l rush.Load) (rush.Made, error) {
	return p.packets.Play(ctx, l)
}

// connectEvery leaves the machine idle between two connections.
const connectEvery = 5 * time.Millisecond

func connectFor(ctx context.Context, tr *traffic.Traffic, length time.Duration) (all traffic.Connects, err error) {
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); {
		c, err := tr.Connects(traffic.TCP, 1, 1)
		if err != nil {
			return all, err
		}
		all.Opened = append(all.Opened, c.Opened...)
		all.Lost += c.Lost
		all.SYNs += c.SYNs
		select {
		case <-tick.C:
		case <-ctx.Done():
			return all, context.Cause(ctx)
		}
	}
	slices.Sort(all.Opened)
	return all, nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// counted is what A's daemon has counted, nil if it holds no packets.
func (p *pair) counted(ctx context.Context) (map[string]uint64, error) {
	if !p.contestant.defers {
		return nil, nil
	}
	return p.contestant.counters(ctx, p.lab.A)
}

// notHeld are the reasons why a first packet was not held until a peer knew its state.
var notHeld = map[string]string{
	"defertimedout": "timed out", "deferqueuefull": "queue full", "deferpassed": "passed", "hold_bypassed": "bypassed",
}

// heldSince notes in f what has become of first packets since then.
func (p *pair) heldSince(ctx context.Context, before map[string]uint64, f map[string]float64) error {
	if before == nil {
		return nil
	}
	now, err := p.counted(ctx)
	if err != nil {
		return err
	}
	f["held"], f["acknowledged"] = float64(now["deferred"]-before["deferred"]), float64(now["deferacked"]-before["deferacked"])
	for name, figure := range notHeld {
		f[figure] = float64(now[name] - before[name])
	}
	var sum uint64
	for _, b := range engine.HoldBounds {
		name := engine.HoldCounter + fmt.Sprint(b.Microseconds())
		if sum += now[name] - before[name]; 2*float64(sum) >= f["acknowledged"] {
			f["held p50 below ms"] = ms(b)
			break
		}
	}
	return nil
}

// heldRamp: A forwards first packets at rising rates until one is not held, or goes on
// before the peer knows its state.
func heldRamp(rates []int, length time.Duration, reps int) scenario {
	return scenario{name: "held packets a second", reps: reps, cost: time.Duration(len(rates))*(length+2*time.Second) + 5*time.Second,
		run: func(ctx context.Context, p *pair) error {
			if !p.contestant.defers {
				return nil
			}
			if err := p.both(ctx); err != nil {
				return err
			}
			if err := p.holding(ctx); err != nil {
				return err
			}
			l := rush.Load{Length: length}
			for _, l.Rate = range rates {
				all, err := p.holdRung(ctx, l)
				if err != nil || !all {
					return err
				}
				l.First += int(float64(l.Rate) * length.Seconds())
			}
			return nil
		}}
}

// holdRung tells whether all first packets at a rate were held until the peer knew their states.
func (p *pair) holdRung(ctx context.Context, l rush.Load) (all bool, err error) {
	before, err := p.counted(ctx)
	if err != nil {
		return false, err
	}
	marked, err := p.mark()
	if err != nil {
		return false, err
	}
	made, err := p.packets.Play(ctx, l)
	if err != nil {
		return false, err
	}
	after, err := p.mark()
	if err != nil {
		return false, err
	}
	if err := pause(ctx, grace); err != nil { // the rules' counters are read once a second
		return false, err
	}
	f := map[string]float64{}
	if err := p.heldSince(ctx, before, f); err != nil {
		return false, err
	}
	cpu := (after.primary + after.backup - marked.primary - marked.backup) / float64(made.Begun) * 1000
	p.trial.note("%d/s: made %.0f/s, %.0f acknowledged, %.0f timed out, %.0f queue full, %.0f passed, %.0f bypassed, half below %v ms; cpu %.3f s/1k",
		l.Rate, made.Rate, f["acknowledged"], f["timed out"], f["queue full"], f["passed"], f["bypassed"], f["held p50 below ms"], cpu)
	if made.Saturated(l) {
		p.trial.doubt("the generator reached %.0f/s only of %d", made.Rate, l.Rate)
	}
	if f["timed out"]+f["queue full"]+f["passed"]+f["bypassed"] > 0 {
		return false, nil
	}
	to := p.trial.Figures
	to["all held at 1/s"], to["held p50 below ms"], to["cpu s/1k"] = made.Rate, f["held p50 below ms"], cpu
	return true, errors.Join(p.a.Flush(), p.still(ctx, 200*time.Millisecond, 5*time.Second))
}
