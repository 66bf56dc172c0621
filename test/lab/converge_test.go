package lab_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// A checker that overlooks drift proves nothing: what stays different is named, and
// the end of it is seen.
func TestConvergedSeesWhatLasts(t *testing.T) {
	l, _ := newLab(t)
	const entry = "-s 192.168.0.10 -d 10.0.0.10 -p tcp --sport 1024 --dport 80"
	const whole = "-t 3600 -u SEEN_REPLY,ASSURED"
	labtest.Run(t, l.A.NS, "conntrack -I "+entry+" --state ESTABLISHED "+whole)

	converged := func(atMost time.Duration) (lab.Convergence, error) {
		ctx, cancel := context.WithTimeout(t.Context(), atMost)
		defer cancel()
		return lab.Converged(ctx, l.A, l.B)
	}
	c, err := converged(lab.Grace + time.Second)
	if err == nil || !strings.Contains(err.Error(), "1 missing") || len(c.Left) != 1 {
		t.Errorf("error %v, left %v, want the missing entry", err, c.Left)
	}

	// The copy that comes and goes is no copy, though each absence is short.
	flap := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			_, err = l.B.Run(t.Context(), "conntrack", strings.Fields("-I "+entry+" --state SYN_SENT -t 3600")...)
			if err == nil {
				_, err = l.B.Run(t.Context(), "conntrack", strings.Fields("-D "+entry)...)
			}
		}
		flap <- err
	}()
	if c, err := converged(lab.Grace + time.Second); err == nil {
		t.Errorf("in sync after %v with a copy that is never right", c.Took)
	}
	cancel()
	if err := <-flap; err != nil {
		t.Fatal(err)
	}

	mended := make(chan error, 1)
	go func() {
		_, err := l.B.Run(t.Context(), "conntrack", strings.Fields("-I "+entry+" --state ESTABLISHED "+whole)...)
		mended <- err
	}()
	c, err = converged(labtest.Patience)
	if err != nil {
		t.Error(err)
	}
	if err := <-mended; err != nil {
		t.Fatal(err)
	}
	if c.States == 0 {
		t.Errorf("%+v", c)
	}
}
