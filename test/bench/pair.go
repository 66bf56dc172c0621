package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// pair is a contestant's two daemons in one trial: the primary on A, the backup on B.
type pair struct {
	*arena
	contestant contestant
	trial      *trial
	gone       float64 // processor time of daemons that were stopped within the trial
	started    []*lab.Firewall
}

// start starts a firewall's daemon; it does not ask for the peer's states yet.
func (p *pair) start(ctx context.Context, f *lab.Firewall) error {
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	if err := p.contestant.start(ctx, f); err != nil {
		return err
	}
	p.started = append(p.started, f)
	return nil
}

// both starts the two daemons and lets them greet each other.
func (p *pair) both(ctx context.Context) error {
	for _, f := range []*lab.Firewall{p.lab.A, p.lab.B} {
		if err := p.start(ctx, f); err != nil {
			return err
		}
		if err := p.contestant.join(ctx, f); err != nil {
			return err
		}
	}
	return pause(ctx, 400*time.Millisecond)
}

// away ends the backup's daemon within a trial.
func (p *pair) away(ctx context.Context) error {
	p.gone += processor(p.lab.B.Pid())
	return p.stopOne(ctx, p.lab.B)
}

// health notes which of the daemons that were started have ended by themselves, and what
// the others have counted.
func (p *pair) health(ctx context.Context) {
	p.trial.Counters = map[string]map[string]uint64{}
	for _, f := range p.started {
		if !f.Running() {
			p.trial.doubt("%s's daemon has died", f.Name)
			p.trial.Figures["died"]++
			continue
		}
		if p.contestant.counters == nil || ctx.Err() != nil {
			continue
		}
		all, err := p.contestant.counters(ctx, f)
		if err != nil {
			p.trial.doubt("counters: %v", err)
			continue
		}
		maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
		p.trial.Counters[map[bool]string{true: "primary", false: "backup"}[f == p.lab.A]] = all
		if n := all["link_receive_drops"]; n > 0 {
			p.trial.note("%s had no room for %d packets that the link brought", f.Name, n)
		}
	}
}

// spent is the processor time that the trial's daemons have had.
func (p *pair) spent() float64 {
	sum := p.gone
	for _, f := range []*lab.Firewall{p.lab.A, p.lab.B} {
		if f.Running() {
			sum += processor(f.Pid())
		}
	}
	return sum
}

// mark is what had been used until a moment.
type mark struct {
	at              time.Time
	primary, backup float64 // processor time
	wire            lab.Wire
}

func (p *pair) mark() (m mark, err error) {
	m.at = time.Now()
	if p.lab.A.Running() {
		m.primary = processor(p.lab.A.Pid())
	}
	if p.lab.B.Running() {
		m.backup = processor(p.lab.B.Pid())
	}
	m.wire, err = p.lab.Wire()
	return m, err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// filled waits until B's table is as large as A's, or has not moved for idle. It tells how
// long that took, without the idle time.
func (p *pair) filled(ctx context.Context, idle, limit time.Duration) (took time.Duration, err error) {
	want, err := p.a.Count()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	last, moved := -1, start
	for {
		n, err := p.b.Count()
		if err != nil {
			return 0, err
		}
		now := time.Now()
		if n != last {
			last, moved = n, now
		}
		if n == want || now.Sub(moved) > idle || now.Sub(start) > limit {
			return moved.Sub(start), nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// still waits until the size of B's table has not changed for idle.
func (p *pair) still(ctx context.Context, idle, limit time.Duration) error {
	start := time.Now()
	last, moved := -1, start
	for time.Since(start) < limit && time.Since(moved) < idle {
		n, err := p.b.Count()
		if err != nil {
			return err
		}
		if n != last {
			last, moved = n, time.Now()
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// compare compares the tables and notes the outcome.
func (p *pair) compare() (*rush.Comparison, error) {
	c, err := rush.Compare(p.a, p.b)
	if err != nil {
		return nil, err
	}
	f := p.trial.Figures
	f["entries"], f["missing"], f["extra"], f["differing"] = float64(c.Entries), float64(c.Missing), float64(c.Extra), float64(c.Different)
	f["wrong"] = float64(c.Missing + c.Extra + c.Different)
	f["differing in more than timeout"] = float64(c.Otherwise)
	f["wrong but for timeouts"] = float64(c.Missing + c.Extra + c.Otherwise)
	for field, n := range c.Fields {
		f["differing in "+field] = float64(n)
	}
	for what, e := range c.Examples {
		p.trial.Examples[what] = e
	}
	return c, nil
}

// made notes how well the load was the one that was asked for.
func (t *trial) made(m rush.Made, l rush.Load) {
	t.Figures["connections"], t.Figures["rate"] = float64(m.Begun), m.Rate
	if m.Refused > 0 {
		t.doubt("the kernel refused %d of the generator's entries or packets: %v", m.Refused, m.Why)
	} else if m.Saturated(l) {
		t.doubt("the generator reached %.0f/s only of %d", m.Rate, l.Rate)
	}
}

// trial is one contestant's run of one scenario.
type trial struct {
	Scenario   string                       `json:"scenario"`
	Contestant string                       `json:"contestant"`
	Rep        int                          `json:"rep"`
	Figures    map[string]float64           `json:"figures,omitempty"`
	Examples   map[string]string            `json:"examples,omitempty"` // of entries that differ
	Counters   map[string]map[string]uint64 `json:"counters,omitempty"` // of the daemons at the end, those that are not 0
	Doubts     []string                     `json:"doubts,omitempty"`   // why the figures may not be what they seem
	Notes      []string                     `json:"notes,omitempty"`
	Error      string                       `json:"error,omitempty"`
	Skipped    string                       `json:"skipped,omitempty"`
	Seconds    float64                      `json:"seconds"`
}

func (t *trial) doubt(format string, args ...any) {
	t.Doubts = append(t.Doubts, fmt.Sprintf(format, args...))
}

func (t *trial) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}
