package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab/traffic"
)

// table prints both runs, two lines for each kind of flow.
func (s *story) table(with, without []traffic.Row) {
	s.say("\n  %-26s %-15s %5s  %8s  %6s  %13s", "", "", "flows", "survived", "resets", "longest stall")
	for i := range with {
		s.row(with[i].Kind.String(), "with pfsync", with[i])
		s.row("", "without", without[i])
	}
	s.say(`
  Data goes every 100 ms (every 250 ms on each 20th TCP connection, 128 kB at a time): no
  stall can be shorter; TCP asks again after twice as long each time. > means that it had not
  ended when the traffic was stopped. A ping is a new flow each time it is asked, and the
  rules let it out again, state or not.`)
}

func (s *story) row(kind, run string, r traffic.Row) {
	s.say("  %-26s %-15s %5d  %8d  %6d  %13s", kind, run, r.Flows, r.Survived, r.Resets, seconds(r, r.Stall.Length()))
}

func seconds(r traffic.Row, d time.Duration) string {
	open := ""
	if r.Survived+len(r.Errors) < r.Flows {
		open = "> "
	}
	return fmt.Sprintf("%s%.2f s", open, d.Seconds())
}

// verdict returns what of the demo's claim was not true.
func verdict(with, without []traffic.Row) error {
	var errs []error
	for _, r := range with {
		if r.Resets > 0 {
			errs = append(errs, fmt.Errorf("with pfsync: %v: %d resets", r.Kind, r.Resets))
		}
		if r.Survived < r.Flows {
			errs = append(errs, fmt.Errorf("with pfsync: %v: %d of %d did not survive", r.Kind, r.Flows-r.Survived, r.Flows))
		}
	}
	for _, r := range without {
		if (r.Kind == traffic.TCP || r.Kind == traffic.Service) && r.Survived > 0 {
			errs = append(errs, fmt.Errorf("without pfsync: %v: %d of %d survived, so the rest proves nothing", r.Kind, r.Survived, r.Flows))
		}
	}
	return errors.Join(errs...)
}
