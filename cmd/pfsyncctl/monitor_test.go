package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// answers are what a daemon says to one request for transitions after the other.
type answers struct {
	fake
	list  []func() (control.Transitions, error)
	asked []uint64
	stop  context.CancelFunc
}

func (a *answers) Transitions(_ context.Context, after uint64) (control.Transitions, error) {
	a.asked = append(a.asked, after)
	if len(a.list) == 0 {
		a.stop()
		return control.Transitions{}, context.Canceled
	}
	next := a.list[0]
	a.list = a.list[1:]
	return next()
}

func TestMonitorGoesOnWithAnotherDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := time.Unix(1500000000, 0).UTC(), time.Unix(1500000100, 0).UTC()
		change := func(n uint64, old, now, why string) ifconfig.Transition {
			return ifconfig.Transition{Number: n, At: first, Name: "carp0", VHID: 1, Old: old, New: now, Why: why}
		}
		say := func(t control.Transitions, err error) func() (control.Transitions, error) {
			return func() (control.Transitions, error) { return t, err }
		}
		ctx, stop := context.WithCancel(t.Context())
		d := &answers{stop: stop, list: []func() (control.Transitions, error){
			say(control.Transitions{Began: first, Last: 7}, nil),
			say(control.Transitions{Began: first, Last: 7}, nil), // nothing for a while
			say(control.Transitions{Began: first, Last: 9, Lost: 1, List: []ifconfig.Transition{change(9, "BACKUP", "MASTER", "master timed out")}}, nil),
			say(control.Transitions{}, errors.New("EOF")), // it ends
			say(control.Transitions{}, control.ErrNotRunning),
			say(control.Transitions{Began: second, Last: 1}, nil), // 9 have not been yet
			say(control.Transitions{Began: second, Last: 1, List: []ifconfig.Transition{change(1, "INIT", "BACKUP", "carpdev is up")}}, nil),
		}}
		var out, stderr strings.Builder
		if err := monitor(ctx, d, &out, &stderr, false); err != nil {
			t.Error(err)
		}
		want := "2017-07-14T02:40:00Z carp0 vhid 1 BACKUP -> MASTER (master timed out)\n2017-07-14T02:40:00Z carp0 vhid 1 INIT -> BACKUP (carpdev is up)\n"
		if out.String() != want {
			t.Errorf("got:\n%swant:\n%s", out.String(), want)
		}
		if got := stderr.String(); !strings.Contains(got, "1 changes of state were missed") {
			t.Errorf("stderr %s", got)
		}
		if want := []uint64{math.MaxUint64, 7, 7, 9, 9, 9, 0, 1}; !slices.Equal(d.asked, want) {
			t.Errorf("asked %v, want %v", d.asked, want)
		}
	})
}
