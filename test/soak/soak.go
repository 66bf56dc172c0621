package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// config says what is to be done.
type config struct {
	bin, peer, only string
	length          time.Duration
	warmUp          time.Duration // before the normal load is measured
	seed            uint64
	rate, states    int
	faults          []fault // nil: all
	out             io.Writer
}

const (
	// within is the time that a pair has for being in sync again.
	within = 10 * time.Second
	// patience is how long is waited beyond, to tell late from never.
	patience = 10 * time.Second
	// quiet is how long the sync link's normal load is measured.
	quiet = 4 * time.Second
	// begins is how long daemons may take to start.
	begins = 20 * time.Second
)

// timeouts are the kernels' own, short: entries end in great number while a fault lasts.
var timeouts = [...]struct{ name, seconds string }{
	{"tcp_timeout_time_wait", "15"}, {"tcp_timeout_close", "5"},
	{"udp_timeout", "10"}, {"udp_timeout_stream", "15"}, {"icmp_timeout", "10"},
}

// soak is a running pair under churn.
type soak struct {
	config
	lab    *lab.Lab
	pair   pair
	random *rand.Rand
	normal load

	ended *moment // of the present fault; nil while it lasts
}

// moment is a time, and what had been sent on the sync link until then.
type moment struct {
	at   time.Time
	wire lab.Wire
}

// over notes that the fault is over.
func (s *soak) over() error {
	wire, err := s.lab.Wire()
	s.ended = &moment{time.Now(), wire}
	return err
}

// load is what goes over the sync link in a second when nothing is wrong.
type load struct{ frames, bytes float64 }

// run returns what was measured, also when an error ended it early. That tables were
// not in sync is no error but in the result.
func run(ctx context.Context, c config) (r *result, err error) {
	s := &soak{config: c, random: rand.New(rand.NewPCG(c.seed, 0))}
	if s.pair, err = pairOf(c.peer); err != nil {
		return nil, err
	}
	if err := lab.Require(s.pair.programs()...); err != nil {
		return nil, err
	}
	s.lab, err = lab.New(ctx, lab.Config{Prefix: namePrefix, Bin: c.bin, Cable: true, Seed: c.seed})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	if err := s.setUp(ctx); err != nil {
		return nil, err
	}
	flows, err := traffic.New(s.lab)
	if err != nil {
		return nil, err
	}
	defer flows.Close()
	churn, err := flows.StartChurn(c.rate, c.seed)
	if err != nil {
		return nil, err
	}
	s.say("%s, %d new flows a second and %d idle states, seed %d", c.peer, c.rate, c.states, c.seed)
	r = &result{Peer: c.peer, Seed: c.seed, Rate: c.rate, States: c.states}
	err = s.play(ctx, r)
	r.Churn = churn.Stop()
	if logged := s.crashed(); logged != "" {
		err = errors.Join(err, errors.New(logged))
	}
	toA, toB := s.lab.Cable.Counts()
	if n := toA.Overflow + toB.Overflow; n > 0 {
		err = errors.Join(err, fmt.Errorf("the lab's own relay was too slow for %d frames: a lower -rate is due", n))
	}
	return r, err
}

func (s *soak) setUp(ctx context.Context) error {
	for _, f := range []*lab.Firewall{s.lab.A, s.lab.B} {
		for _, t := range timeouts {
			if err := f.Sysctl("net/netfilter/nf_conntrack_"+t.name, t.seconds); err != nil {
				return err
			}
		}
		if err := s.pair.prepare(ctx, f); err != nil {
			return err
		}
	}
	for _, f := range []*lab.Firewall{s.lab.A, s.lab.B} {
		if err := s.start(ctx, f); err != nil {
			return err
		}
	}
	return s.lab.A.Load(ctx, s.states)
}

// start starts the daemon of f and returns when it works.
func (s *soak) start(ctx context.Context, f *lab.Firewall) error {
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	return s.pair.start(ctx, f, f == s.lab.A)
}

// play has the faults happen, all of them in each round, until the time is over.
func (s *soak) play(ctx context.Context, r *result) error {
	if err := s.beginInSync(ctx); err != nil {
		return err
	}
	if err := s.measureNormal(ctx); err != nil {
		return err
	}
	r.NormalFrames, r.NormalBytes = s.normal.frames, s.normal.bytes
	s.say("%-30s %.0f frames and %.0f bytes a second on the sync link", "nothing is wrong", s.normal.frames, s.normal.bytes)

	all := s.faults
	if all == nil {
		all = faults()
	}
	until := time.Now().Add(s.length)
	for round := 0; round == 0 || time.Now().Before(until); round++ {
		s.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, f := range all {
			if !strings.Contains(f.name, s.only) || round > 0 && time.Now().After(until) {
				continue
			}
			o, err := s.suffer(ctx, f)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			r.add(o)
			if !o.InSync {
				if err := s.renew(ctx); err != nil {
					return fmt.Errorf("after %s: %w", f.name, err)
				}
			}
		}
	}
	return nil
}

// measureNormal measures the load of the sync link.
func (s *soak) measureNormal(ctx context.Context) error {
	if err := pause(ctx, s.warmUp); err != nil {
		return err
	}
	before, err := s.lab.Wire()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	after, err := s.lab.Wire()
	if err != nil {
		return err
	}
	sent, seconds := after.Sub(before), time.Since(start).Seconds()
	s.normal = load{float64(sent.Frames) / seconds, float64(sent.Bytes) / seconds}
	return nil
}

// suffer has a fault happen, and waits until the tables are in sync again.
func (s *soak) suffer(ctx context.Context, f fault) (o outcome, err error) {
	before := s.counters(ctx)
	s.ended = nil
	if err := f.run(ctx, s); err != nil {
		return o, err
	}
	if s.ended == nil {
		if err := s.over(); err != nil {
			return o, err
		}
	}
	wire, err := s.lab.Wire()
	if err != nil {
		return o, err
	}
	already := moment{time.Now(), wire.Sub(s.ended.wire)}
	waiting, cancel := context.WithTimeout(ctx, within+lab.Grace+patience)
	defer cancel()
	c, err := lab.Converged(waiting, s.lab.A, s.lab.B)
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	took := c.Took + already.at.Sub(s.ended.at)
	o = outcome{
		Fault: f.name, InSync: err == nil, Took: took, States: c.States, First: c.First,
		Left:     lab.CountDifferences(c.Left),
		Frames:   float64(already.wire.Frames+c.Wire.Frames) - s.normal.frames*took.Seconds(),
		Bytes:    float64(already.wire.Bytes+c.Wire.Bytes) - s.normal.bytes*took.Seconds(),
		Counters: counted(before, s.counters(ctx)),
	}
	if err != nil {
		o.Error = err.Error()
	}
	s.say("%v", o)
	return o, nil
}

// beginInSync waits until the tables are in sync where nothing has gone wrong.
func (s *soak) beginInSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	_, err := lab.Converged(ctx, s.lab.A, s.lab.B)
	return err
}

// renew starts the pair anew with an empty table on fwB, so that what one fault has
// left does not count against the next.
func (s *soak) renew(ctx context.Context) error {
	for _, f := range []*lab.Firewall{s.lab.A, s.lab.B} {
		if err := f.KillDaemon(); err != nil {
			return err
		}
	}
	if _, err := s.lab.B.Run(ctx, "conntrack", "-F"); err != nil {
		return err
	}
	for _, f := range []*lab.Firewall{s.lab.A, s.lab.B} {
		if err := s.start(ctx, f); err != nil {
			return err
		}
	}
	return s.beginInSync(ctx)
}

// counters are those of both daemons, or nothing of one that does not answer.
func (s *soak) counters(ctx context.Context) (both [2]map[string]uint64) {
	for i, f := range []*lab.Firewall{s.lab.A, s.lab.B} {
		both[i], _ = s.pair.counters(ctx, f)
	}
	return both
}

// counted is by how much the counters of fwA and fwB have grown; those of a daemon
// started between count from its start.
func counted(before, after [2]map[string]uint64) map[string]uint64 {
	grown := map[string]uint64{}
	for i, name := range []string{"fwA ", "fwB "} {
		for counter, value := range after[i] {
			if old := before[i][counter]; old <= value {
				value -= old
			}
			if value > 0 {
				grown[name+counter] = value
			}
		}
	}
	return grown
}

// crashed returns what a daemon has logged that no daemon may.
func (s *soak) crashed() string {
	for _, f := range []*lab.Firewall{s.lab.A, s.lab.B} {
		log := f.Log()
		for _, word := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if i := strings.Index(log, word); i >= 0 {
				return f.Name + ": " + log[i:min(len(log), i+4000)]
			}
		}
	}
	return ""
}

func (s *soak) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// pause lets time pass for what is being tested.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
