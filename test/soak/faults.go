package main

import (
	"context"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// fault is something that goes wrong. It is over, and the pair's 10 seconds begin, when
// run calls soak.over, or returns.
type fault struct {
	name string
	run  func(ctx context.Context, s *soak) error
}

// faults are all there are.
func faults() []fault {
	return []fault{
		{"loss, duplicates, reordering", func(ctx context.Context, s *soak) error {
			bad := lab.Faults{Loss: 0.3, Duplicate: 0.1, Reorder: 0.25, Hold: 5 * time.Millisecond}
			return s.disturb(ctx, bad, bad, s.between(4*time.Second, 8*time.Second))
		}},
		{"delay of 80 ms, reordering", func(ctx context.Context, s *soak) error {
			late := lab.Faults{Delay: 80 * time.Millisecond, Reorder: 0.1, Hold: 50 * time.Millisecond}
			return s.disturb(ctx, late, late, s.between(3*time.Second, 5*time.Second))
		}},
		{"one way dead, towards fwB", func(ctx context.Context, s *soak) error {
			return s.disturb(ctx, lab.Faults{}, lab.Faults{Loss: 1}, s.between(4*time.Second, 8*time.Second))
		}},
		{"one way dead, towards fwA", func(ctx context.Context, s *soak) error {
			return s.disturb(ctx, lab.Faults{Loss: 1}, lab.Faults{}, s.between(4*time.Second, 8*time.Second))
		}},
		{"both ways dead, carrier on", func(ctx context.Context, s *soak) error {
			dead := lab.Faults{Loss: 1}
			return s.disturb(ctx, dead, dead, s.between(5*time.Second, 12*time.Second))
		}},
		{"flapping carrier", func(ctx context.Context, s *soak) error {
			for range 3 + s.random.IntN(4) {
				if err := s.unplugged(ctx, s.between(20*time.Millisecond, 500*time.Millisecond)); err != nil {
					return err
				}
				if err := pause(ctx, s.between(20*time.Millisecond, 500*time.Millisecond)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"link cut for 20 s", func(ctx context.Context, s *soak) error { return s.unplugged(ctx, 20*time.Second) }},
		{"kill -9 of fwA's daemon", func(ctx context.Context, s *soak) error { return s.restart(ctx, s.lab.A, (*lab.Firewall).KillDaemon) }},
		{"kill -9 of fwB's daemon", func(ctx context.Context, s *soak) error { return s.restart(ctx, s.lab.B, (*lab.Firewall).KillDaemon) }},
		{"SIGTERM to fwA's daemon", func(ctx context.Context, s *soak) error { return s.restart(ctx, s.lab.A, terminate(ctx)) }},
		{"SIGTERM to fwB's daemon", func(ctx context.Context, s *soak) error { return s.restart(ctx, s.lab.B, terminate(ctx)) }},
		{"fwB's table flushed", func(ctx context.Context, s *soak) error {
			_, err := s.lab.B.Run(ctx, "conntrack", "-F")
			return err
		}},
		{"some of fwB's entries deleted", func(ctx context.Context, s *soak) error { return s.forget(ctx, s.lab.B) }},
	}
}

// between is a random time.
func (s *soak) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.random.Int64N(int64(most-least)))
}

func (s *soak) disturb(ctx context.Context, toA, toB lab.Faults, d time.Duration) error {
	s.lab.Cable.Disturb(toA, toB)
	defer s.lab.Cable.Heal()
	return pause(ctx, d)
}

func (s *soak) unplugged(ctx context.Context, d time.Duration) error {
	if err := s.lab.Cable.Unplug(); err != nil {
		return err
	}
	if err := pause(ctx, d); err != nil {
		return err
	}
	return s.lab.Cable.Plug()
}

// restart ends a daemon and starts it again, at once or some seconds later.
func (s *soak) restart(ctx context.Context, f *lab.Firewall, end func(*lab.Firewall) error) error {
	if err := end(f); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(s.random.IntN(3))*time.Second); err != nil {
		return err
	}
	if err := s.over(); err != nil {
		return err
	}
	return s.start(ctx, f)
}

func terminate(ctx context.Context) func(*lab.Firewall) error {
	return func(f *lab.Firewall) error {
		ctx, cancel := context.WithTimeout(ctx, begins)
		defer cancel()
		return f.StopDaemon(ctx)
	}
}

// forget deletes up to a hundred random entries from f's table.
func (s *soak) forget(ctx context.Context, f *lab.Firewall) error {
	entries, err := f.Dump()
	if err != nil {
		return err
	}
	s.random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	return f.Forget(ctx, entries[:min(100, len(entries))])
}
