package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncd/notify"
	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// node answers until it is hung up.
type node struct {
	mu    sync.Mutex
	peers []ifconfig.Peer
	err   error
	hung  <-chan struct{} // an answer waits for it
}

func (n *node) set(f func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *node) Status() (control.Status, error) {
	n.mu.Lock()
	hung, peers, err := n.hung, n.peers, n.err
	n.mu.Unlock()
	if hung != nil {
		<-hung
	}
	return control.Status{Peers: peers, States: control.States{Local: 3, Imported: 4}}, err
}

func (n *node) Interfaces() ([]ifconfig.Interface, error) {
	return []ifconfig.Interface{{Name: "pfsync0", Status: "active"}}, nil
}

// manager keeps what it was told, with the time since the start.
type manager struct {
	began time.Time
	mu    sync.Mutex
	told  []string
}

func (m *manager) send(state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, time.Since(m.began).String()+" "+strings.ReplaceAll(state, "\n", " "))
	return nil
}

func (m *manager) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	told := m.told
	m.told = nil
	return told
}

func TestManagerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		m, n := &manager{began: time.Now()}, &node{}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			notify.Manager{Send: m.send, Watchdog: 15 * time.Second}.Run(ctx, n, slog.New(slog.DiscardHandler))
		}()
		step := func(d time.Duration, want ...string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if diff := cmp.Diff(want, m.take()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
		step(time.Second, "0s READY=1 WATCHDOG=1 STATUS=pfsync0: active; peers in order: 0 of 0; states: 3 local, 4 imported")
		step(9*time.Second, "5s WATCHDOG=1", "10s WATCHDOG=1")
		n.set(func(n *node) {
			n.peers = []ifconfig.Peer{
				{Addr: netip.MustParseAddr("10.0.0.2"), Kind: "linux", State: "up", Sync: "yes"},
				{Addr: netip.MustParseAddr("10.0.0.3"), Kind: "linux", State: "dead", Sync: "no"},
			}
		})
		step(5*time.Second, "15s WATCHDOG=1 STATUS=pfsync0: active; peers in order: 1 of 2; states: 3 local, 4 imported")

		// An engine that says no, or hangs, does not keep the watchdog quiet.
		n.set(func(n *node) { n.err = errors.New("stopped") })
		step(5 * time.Second)
		free := make(chan struct{})
		n.set(func(n *node) { n.err, n.hung = nil, free })
		step(time.Minute)
		close(free)
		n.set(func(n *node) { n.hung = nil })
		step(5*time.Second, "1m20s WATCHDOG=1", "1m20s WATCHDOG=1", "1m25s WATCHDOG=1") // a tick had waited

		// The end is told even if the engine hangs just then.
		n.set(func(n *node) { n.hung = ctx.Done() })
		step(5 * time.Second)
		stop()
		step(0, "1m30s STOPPING=1 STATUS=ending")
		<-ended
	})
}

func TestNobodyListens(t *testing.T) {
	notify.Manager{}.Run(t.Context(), nil, nil) // returns at once, and asks nothing
}

// The environment is that of systemd.exec(5); the socket a real one.
func TestEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	m, err := notify.FromEnvironment()
	if err != nil || m.Watchdog != 30*time.Second {
		t.Fatal(m.Watchdog, err)
	}
	if err := m.Send("READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := l.Read(b); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}

	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	m, err = notify.FromEnvironment()
	if err != nil || m.Watchdog != 0 || m.Send != nil {
		t.Errorf("without a manager: %v %v", m.Watchdog, err)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := notify.FromEnvironment(); err == nil || !strings.Contains(err.Error(), "WATCHDOG_USEC") {
		t.Errorf("WATCHDOG_USEC=soon: %v", err)
	}
}
