package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// ramp: new states at rising rates, fresh daemons and tables each time: the highest rate
// that B holds in full within two seconds after the end. Between the last rate that was
// held and the first that was not, one more is tried.
func ramp(rates []int, length time.Duration, reps int) scenario {
	return scenario{name: "ramp", reps: reps, cost: time.Duration(len(rates)+1) * (length + 5*time.Second),
		run: func(ctx context.Context, p *pair) error {
			held, failed := 0, 0
			for _, rate := range rates {
				ok, wall, err := p.rung(ctx, rush.Load{Rate: rate, Length: length})
				if err != nil {
					return err
				}
				if !ok {
					failed = rate
					break
				}
				held = rate
				if wall {
					return nil
				}
			}
			if failed == 0 || held == 0 {
				return nil
			}
			_, _, err := p.rung(ctx, rush.Load{Rate: (held + failed) / 2, Length: length})
			return err
		}}
}

// drained is how long B may lag behind.
const drained = 2 * time.Second

// rung tries one rate. It tells whether B held it and whether the generator could not go on
// faster.
func (p *pair) rung(ctx context.Context, l rush.Load) (ok, wall bool, err error) {
	if err := errors.Join(p.stop(ctx), fresh(p.lab.A), fresh(p.lab.B), p.a.Flush(), p.b.Flush()); err != nil {
		return false, false, err
	}
	step := &trial{Scenario: fmt.Sprintf("ramp %d/s", l.Rate), Figures: map[string]float64{}, Examples: map[string]string{}}
	one := &pair{arena: p.arena, contestant: p.contestant, trial: step}
	if err := one.steady(ctx, l, p.a.New, drained); err != nil {
		return false, false, err
	}
	one.health(ctx)
	p.gone += one.spent()
	if err := errors.Join(p.profiled(), p.stop(ctx)); err != nil {
		return false, false, err
	}
	f := step.Figures
	ok = f["missing"]+f["extra"]+f["died"] == 0 && f["drain s"] <= drained.Seconds()
	p.trial.note("%d/s: made %.0f/s, B had all %.2f s later; %.0f missing, %.0f extra, p99 %.1f ms, cpu %.3f s/1k: %s",
		l.Rate, f["rate"], f["drain s"], f["missing"], f["extra"], f["p99 ms"], f["cpu s/1k"], map[bool]string{true: "held", false: "not held"}[ok])
	if !ok {
		return false, false, nil
	}
	p.trial.Figures["highest rate held"] = max(p.trial.Figures["highest rate held"], f["rate"])
	if f["rate"] < 0.9*float64(l.Rate) {
		p.trial.doubt("the generator was the limit, at %.0f/s: the highest rate is that or more", f["rate"])
		return true, true, nil
	}
	return true, false, nil
}

// walls: what the kernel itself allows, with no daemon. ctnetlink takes one lock for all
// namespaces, so that a generator in A and a daemon that writes in B share what is
// measured as "two writers at once".
func walls(n int) scenario {
	return scenario{name: "the kernel alone", reps: 1, cost: 15 * time.Second, alone: true,
		run: func(ctx context.Context, p *pair) error { return p.walls(ctx, n) }}
}

func (p *pair) walls(ctx context.Context, n int) error {
	f := p.trial.Figures
	m, err := p.a.Fill(ctx, 0, n)
	if err != nil {
		return err
	}
	f["create/s"] = m.Rate
	start := time.Now()
	if _, err := rush.Compare(p.a, p.b); err != nil {
		return err
	}
	f["dump/s"] = float64(n) / time.Since(start).Seconds()
	if err := p.a.Flush(); err != nil {
		return err
	}

	listener, err := rush.Open(p.lab.A.NS)
	if err != nil {
		return err
	}
	defer listener.Close()
	type heard struct {
		events, overruns int
		err              error
	}
	listening, stop := context.WithCancel(ctx)
	defer stop()
	all := make(chan heard, 1)
	go func() {
		var h heard
		h.events, h.overruns, h.err = listener.Listen(listening)
		all <- h
	}()
	if err := pause(ctx, 100*time.Millisecond); err != nil { // it has subscribed
		return err
	}
	if m, err = p.a.Fill(ctx, 0, n); err != nil {
		return err
	}
	f["create/s with a listener"] = m.Rate
	if err := pause(ctx, 500*time.Millisecond); err != nil { // it has read what there is
		return err
	}
	stop()
	h := <-all
	if h.err != nil {
		return h.err
	}
	if h.overruns > 0 || h.events < n {
		p.trial.note("the listener read %d of %d events, with %d overruns", h.events, n, h.overruns)
	}
	if err := p.a.Flush(); err != nil {
		return err
	}

	other := make(chan error, 1)
	var b rush.Made
	go func() {
		var err error
		b, err = p.b.Fill(ctx, 0, n)
		other <- err
	}()
	m, err = p.a.Fill(ctx, 0, n)
	if failed := <-other; err == nil {
		err = failed
	}
	f["create/s each, two writers at once"] = min(m.Rate, b.Rate)
	if err == nil && m.Refused+b.Refused > 0 {
		err = fmt.Errorf("the kernel refused entries: %w", errors.Join(m.Why, b.Why))
	}
	return err
}
