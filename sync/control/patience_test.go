package control_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
)

var up = ifconfig.Change{Interface: "pfsync0", Up: new(true)}

func TestAChangeWaitsForADaemonThatStarts(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	dials := 0
	c := control.NewClientDial(func(context.Context) (net.Conn, error) {
		if dials++; dials < 4 {
			return nil, syscall.ECONNREFUSED
		}
		return controltest.Dial(h.NS)
	})
	c.Patience = time.Minute
	if err := c.Change(t.Context(), up); err != nil {
		t.Fatal(err)
	}
	if n := len(node.Changes()); dials != 4 || n != 1 {
		t.Errorf("%d dials, %d changes", dials, n)
	}
}

// after runs ask in a bubble and returns when it ended, and how.
func after(t *testing.T, dial func(context.Context) (net.Conn, error), ask func(*control.Client) error) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		began := time.Now()
		err = ask(control.NewClientDial(dial))
		took = time.Since(began)
	})
	return took, err
}

func TestPatienceEnds(t *testing.T) {
	refuse := func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	for patience, want := range map[time.Duration]time.Duration{0: 0, 5 * time.Second: 5 * time.Second} {
		took, err := after(t, refuse, func(c *control.Client) error {
			c.Patience = patience
			return c.Change(context.Background(), up)
		})
		if !errors.Is(err, control.ErrNotRunning) || took != want {
			t.Errorf("patience %v: %v after %v", patience, err, took)
		}
	}
	took, err := after(t, refuse, func(c *control.Client) error {
		c.Patience = time.Minute
		_, err := c.Status(context.Background())
		return err
	})
	if !errors.Is(err, control.ErrNotRunning) || took != 0 {
		t.Errorf("status: %v after %v, want at once", err, took)
	}
}

func TestADaemonThatDoesNotAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		ask  func(*control.Client) error
		took time.Duration
		want string
	}{
		{"interfaces", func(c *control.Client) error { _, err := c.Interfaces(context.Background()); return err }, 3 * time.Second,
			"pfsyncd does not answer"},
		{"counters", func(c *control.Client) error { _, err := c.Counters(context.Background()); return err }, 3 * time.Second,
			"pfsyncd does not answer"},
		{"status", func(c *control.Client) error { _, err := c.Status(context.Background()); return err }, 3 * time.Second,
			"pfsyncd does not answer"},
		{"peers", func(c *control.Client) error { _, err := c.Peers(context.Background()); return err }, 3 * time.Second,
			"pfsyncd does not answer"},
		{"states", func(c *control.Client) error {
			return c.States(context.Background(), control.Selection{}, func(*pfstate.State) error { return nil })
		}, 3 * time.Second, "pfsyncd does not answer"},
		{"kill", func(c *control.Client) error {
			_, err := c.Kill(context.Background(), control.Kill{Creator: 1})
			return err
		}, 28 * time.Second, "pfsyncd does not answer (it may still carry this out)"},
		{"change", func(c *control.Client) error { c.Patience = time.Minute; return c.Change(context.Background(), up) }, 10 * time.Second,
			"pfsync0: pfsyncd does not answer (it may still carry this out)"},
		{"bulk", func(c *control.Client) error { c.Patience = time.Minute; return c.Bulk(context.Background()) }, 10 * time.Second,
			"bulk: pfsyncd does not answer (it may still carry this out)"},
		{"push", func(c *control.Client) error { c.Patience = time.Minute; return c.Push(context.Background()) }, 10 * time.Second,
			"push: pfsyncd does not answer (it may still carry this out)"},
	} {
		var ended chan struct{}
		hang := func(context.Context) (net.Conn, error) { <-ended; return nil, net.ErrClosed }
		took, err := after(t, hang, func(client *control.Client) error {
			ended = make(chan struct{}) // of the bubble
			defer close(ended)
			return c.ask(client)
		})
		if !errors.Is(err, control.ErrNoAnswer) || err.Error() != c.want || took != c.took {
			t.Errorf("%s: %v after %v", c.name, err, took)
		}
	}
}

func TestTheRefusalIsOneLine(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	node.Refuse = func(ifconfig.Change) error { return errors.Join(errors.New("pfsync0: one"), errors.New("two")) }
	h.serve(t, node)
	if err := h.client.Change(t.Context(), up); err == nil || err.Error() != "pfsync0: one; two" {
		t.Errorf("error %v", err)
	}
}
