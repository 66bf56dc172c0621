package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/sync/metrics"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

const scrapeAddress = "127.0.0.1:9240"

// manager is a service manager's end of sd_notify(3).
type manager struct {
	*net.UnixConn
	path string
}

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return manager{c, path}
}

// environ has a command think that systemd started it, with a watchdog.
func (m manager) environ(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=300000")
	return cmd
}

// await reads until something with want in it comes, and returns it.
func (m manager) await(t *testing.T, want string) string {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(labtest.Patience)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 4096); ; {
		n, err := m.Read(b)
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if strings.Contains(string(b[:n]), want) {
			return string(b[:n])
		}
	}
}

// scrape gets path from the daemon of ns.
func scrape(t *testing.T, dial func(ctx context.Context) (net.Conn, error), path string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: labtest.Patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pfsyncd"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func dialTCP(ns *lab.NS) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (c net.Conn, err error) {
		err = ns.Do(func() error { c, err = new(net.Dialer).DialContext(ctx, "tcp", scrapeAddress); return err })
		return c, err
	}
}

func dialControl(ns *lab.NS) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) { return controltest.Dial(ns) }
}

// The service manager hears that the daemon is ready, how it is, and that it ends; all of it
// from the confined daemon, which answers Prometheus on both sockets.
func TestServiceManagerAndPrometheusAreTold(t *testing.T) {
	a, b := cable(t)
	labtest.Run(t, a, "ip link set lo up")
	m := newManager(t)
	cmd, log := launch(t, a, m.environ(exec.Command(os.Args[0], "--state-dir", t.TempDir(), "--metrics", scrapeAddress)))
	daemon(t, b, "--state-dir", t.TempDir())
	if said := m.await(t, "READY=1"); !strings.Contains(said, "STATUS=pfsync0: no syncdev; peers in order: 0 of 0; states: 0 local, 0 imported") {
		t.Errorf("ready: %q", said)
	}
	m.await(t, "WATCHDOG=1")
	change(t, a, "up", "syncdev", "eth2")
	change(t, b, "up", "syncdev", "eth2")
	m.await(t, "STATUS=pfsync0: active; peers in order: 1 of 1;")

	status, text := scrape(t, dialTCP(a), "/metrics")
	for _, want := range []string{
		"pfsync_up 1\n", "pfsync_link_up 1\n", "pfsync_sync_ok 1\n",
		`pfsync_peer_state{peer="192.168.254.2",state="up"} 1` + "\n", `pfsync_peer_in_sync{peer="192.168.254.2"} 1` + "\n",
		"\npfsync_conntrack_entries ", "pfsync_conntrack_entries_limit ", `pfsync_config_info{defer="false",key="off",maxupd="128",syncdev="eth2",syncpeer=""} 1`,
		`pfsync_control_refusals_total{reason="not_root"} 0`,
	} {
		if status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("status %d, no %q in:\n%s", status, want, text)
		}
	}
	if status, text := scrape(t, dialControl(a), "/metrics"); status != http.StatusOK || !strings.Contains(text, "pfsync_sync_ok 1\n") {
		t.Errorf("control socket: status %d:\n%s", status, text)
	}
	if status, _ := scrape(t, dialTCP(a), "/v1/status"); status != http.StatusNotFound {
		t.Errorf("/v1/status by TCP: status %d", status)
	}

	// Counters that metrics knows are all there.
	counters, err := controltest.NewClient(a).Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, c := range counters {
		there[c.Name] = true
	}
	for _, name := range metrics.Known() {
		if !there[name] {
			t.Errorf("sync/metrics knows a counter %s, which the daemon has not", name)
		}
	}

	cmd.Process.Signal(os.Interrupt)
	m.await(t, "STOPPING=1")
	if err := cmd.Wait(); err != nil || strings.Contains(log.String(), "denied") || strings.Contains(log.String(), "not permitted") {
		t.Errorf("ended with %v: %s", err, log)
	}
}

// An address that is taken is said before anything is touched.
func TestMetricsAddressInUse(t *testing.T) {
	ns := labtest.NewNS(t)
	labtest.Run(t, ns, "ip link set lo up")
	var l net.Listener
	if err := ns.Do(func() (err error) { l, err = net.Listen("tcp", scrapeAddress); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := ns.Run(t.Context(), "env", asDaemon+"=1", os.Args[0], "--state-dir", t.TempDir(), "--table", "memory", "--metrics", scrapeAddress)
	if err == nil || !strings.Contains(out, "pfsyncd: metrics: listen tcp "+scrapeAddress+": bind: address already in use") {
		t.Errorf("%v: %s", err, out)
	}
}

// Confined as ever, it gives root its profiles when told to, and else knows of none.
func TestProfiles(t *testing.T) {
	a, b := cable(t)
	cmd, log := daemon(t, a, "--state-dir", t.TempDir(), "--pprof")
	daemon(t, b, "--state-dir", t.TempDir())
	checkConfined(t, cmd.Process.Pid)
	for path, want := range map[string]string{
		"/debug/pprof/profile?seconds=1": "\x1f\x8b", // they come compressed
		"/debug/pprof/heap":              "\x1f\x8b",
		"/debug/runtime":                 `{"collections":`,
	} {
		if status, text := scrape(t, dialControl(a), path); status != http.StatusOK || !strings.HasPrefix(text, want) {
			t.Errorf("%s: status %d, %.60q", path, status, text)
		}
		if status, _ := scrape(t, dialControl(b), path); status != http.StatusNotFound {
			t.Errorf("%s of a daemon without --pprof: status %d", path, status)
		}
	}
	if said := terminate(t, cmd, log); strings.Contains(said, "denied") || strings.Contains(said, "not permitted") {
		t.Errorf("something was refused:\n%s", said)
	}
}
