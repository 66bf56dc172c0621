package control_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// asGuest makes the test binary print what a client gets instead of running tests.
const asGuest = "PFSYNC_TEST_GUEST"

func TestMain(m *testing.M) {
	if os.Getenv(asGuest) != "" {
		guest()
		return
	}
	os.Exit(m.Run())
}

// guest looks at pfsync0 and then tries to change it.
func guest() {
	c := control.NewClient()
	list, err := c.Interfaces(context.Background())
	fmt.Println(len(list), err)
	peers, err := c.Peers(context.Background())
	fmt.Println(len(peers), err)
	fmt.Println(c.Change(context.Background(), ifconfig.Change{Interface: "pfsync0", Up: new(true)}))
	fmt.Println(c.Bulk(context.Background()))
	fmt.Println(c.Push(context.Background()))
	settings, err := c.Sysctls(context.Background())
	fmt.Println(len(settings) > 0, err)
	_, err = c.SetSysctl(context.Background(), sysctl.Setting{Name: "net.inet.carp.preempt", Value: 1})
	fmt.Println(err)
	states := 0
	err = c.States(context.Background(), control.Selection{}, func(*pfstate.State) error { states++; return nil })
	rules, err2 := c.Rules(context.Background())
	fmt.Println(states, err, rules.Enabled, err2)
	_, kill := c.Kill(context.Background(), control.Kill{Creator: 1})
	_, flush := c.Flush(context.Background())
	fmt.Println(kill, flush, c.SetRuleset(context.Background(), &pfconf.Ruleset{}), c.Enable(context.Background(), false))
}

// host is a network namespace with a client of its pfsyncd.
type host struct {
	*lab.NS
	client *control.Client
}

func newHost(t *testing.T) host {
	t.Helper()
	ns := labtest.NewNS(t)
	return host{ns, controltest.NewClient(ns)}
}

// serve runs a server until the test ends or stop is called, which returns Serve's error.
func (h host) serve(t *testing.T, node control.Node) (stop func() error) {
	t.Helper()
	shutDown, err := controltest.Serve(h.NS, node)
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		return shutDown()
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func TestClientAndServer(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	ctx := t.Context()
	node.Hear(
		ifconfig.Peer{Addr: netip.MustParseAddr("192.168.254.253"), Creator: 0x0b5b3f2a, Kind: "linux", State: "up",
			Age: ifconfig.Seconds(400 * time.Millisecond), States: 1200, Sync: "yes", Problems: []string{}},
		ifconfig.Peer{Addr: netip.MustParseAddr("fe80::1%sis2"), Kind: "openbsd", State: "stale", Sync: "unknown",
			Problems: []string{"does not hear us"}})

	peer := netip.MustParseAddr("10.0.0.2")
	want := ifconfig.Change{Interface: "pfsync0", Up: new(true), MTU: new(1400), Syncdev: new("sis2"), Syncpeer: &peer,
		MaxUpd: new(64), Defer: new(false)}
	if err := h.client.Change(ctx, want); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Change(ctx, ifconfig.Change{Interface: "pfsync0", Syncpeer: new(netip.Addr)}); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Bulk(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Push(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Yield(ctx); err != nil || node.Yields() != 1 {
		t.Errorf("yield: %v, the node was told %d times", err, node.Yields())
	}
	addrs := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff([]ifconfig.Change{want, {Interface: "pfsync0", Syncpeer: new(netip.Addr)},
		{Interface: "pfsync0", Bulk: true}, {Interface: "pfsync0", Push: true}}, node.Changes(), addrs); diff != "" {
		t.Errorf("changes: -want +got:\n%s", diff)
	}

	interfaces, err := h.client.Interfaces(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantInterfaces, _ := node.Interfaces()
	if diff := cmp.Diff(wantInterfaces, interfaces, addrs); diff != "" {
		t.Errorf("interfaces: -want +got:\n%s", diff)
	}
	if got := interfaces[0].PFSync.Syncdev; got != "sis2" {
		t.Errorf("syncdev %q", got)
	}

	status, err := h.client.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus, _ := node.Status()
	if diff := cmp.Diff(wantStatus, status, addrs); diff != "" {
		t.Errorf("status: -want +got:\n%s", diff)
	}

	peers, err := h.client.Peers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantPeers, _ := node.Peers()
	if diff := cmp.Diff(wantPeers, peers, addrs); diff != "" {
		t.Errorf("peers: -want +got:\n%s", diff)
	}

	counters, err := h.client.Counters(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantCounters := []pfstate.Counter{
		{Name: "ipackets", Help: "packets received (IPv4)", Value: 812},
		{Name: "ctldenied", Help: "changes refused to users other than root"},
		{Name: "ctlinvalid", Help: "control requests refused as invalid"},
		{Name: "ctlguests", Help: "control connections refused as too many"},
	}
	if diff := cmp.Diff(wantCounters, counters); diff != "" {
		t.Errorf("counters: -want +got:\n%s", diff)
	}
}

func TestTheNodesRefusalReachesTheOperator(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	node.Refuse = func(ifconfig.Change) error { return errors.New("syncdev em9: no such interface") }
	h.serve(t, node)
	err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Syncdev: new("em9")})
	if err == nil || err.Error() != "syncdev em9: no such interface" {
		t.Errorf("error %v", err)
	}
	if err := h.client.Bulk(t.Context()); err == nil || err.Error() != "syncdev em9: no such interface" {
		t.Errorf("bulk: error %v", err)
	}
}

func TestKeysReachTheNodeAndNobodyElse(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	digits := strings.Repeat("5ec1e700", 8)
	k, err := ifconfig.ParseKey(digits)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Key: &k}); err != nil {
		t.Fatal(err)
	}
	if err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Up: new(true)}); err != nil {
		t.Fatal(err)
	}
	shown, err := h.client.Interfaces(t.Context())
	if err != nil || shown[0].PFSync.Key != ifconfig.KeyOn {
		t.Errorf("shown %+v, %v", shown[0].PFSync, err)
	}
	if err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Key: new(ifconfig.Key)}); err != nil {
		t.Fatal(err)
	}
	changes := node.Changes()
	if len(changes) != 3 || changes[0].Key == nil || !changes[0].Key.Equal(k) || changes[1].Key != nil ||
		changes[2].Key == nil || !changes[2].Key.Equal(ifconfig.Key{}) {
		t.Errorf("changes %+v", changes)
	}

	k.File = "/etc/pfsync.key" // stays here
	if err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Key: &k}); err != nil {
		t.Fatal(err)
	}
	if got := node.Changes()[3].Key; got.File != "" || got.Secret() == nil {
		t.Errorf("key %v", got)
	}
	node.Refuse = func(c ifconfig.Change) error { return fmt.Errorf("refused: %+v %+v", c, c.Key) }
	refusal := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Key: &k})
	if refusal == nil {
		t.Error("not refused")
	}
	if text := fmt.Sprintf("%v %+v", refusal, changes); strings.Contains(text, digits[:8]) {
		t.Errorf("the key is shown: %s", text)
	}
}

// A key whose file nobody has read must not be taken for none.
func TestUnreadKeyIsNotSent(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Key: &ifconfig.Key{File: "/etc/pfsync.key"}})
	if err == nil || err.Error() != "key /etc/pfsync.key: was not read" || len(node.Changes()) != 0 {
		t.Errorf("error %v, changes %v", err, node.Changes())
	}
}

func TestNobodyListens(t *testing.T) {
	h := newHost(t)
	_, err := h.client.Interfaces(t.Context())
	if !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("error %v, want ErrNotRunning", err)
	}
	if got, want := fmt.Sprint(err), "pfsyncd is not running in this network namespace; start it with: pfsyncd"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestOneDaemonPerNamespace(t *testing.T) {
	h := newHost(t)
	stop := h.serve(t, controltest.NewNode())
	listen := func() error {
		return h.Do(func() error {
			l, err := control.Listen()
			if err == nil {
				l.Close()
			}
			return err
		})
	}
	if err := listen(); !errors.Is(err, control.ErrRunning) {
		t.Errorf("second daemon: error %v, want ErrRunning", err)
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := listen(); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

func TestGuestsMayLookAndNotChange(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	node.Hear(ifconfig.Peer{})
	node.Hold(many(2)...)
	out := runGuest(t, h)
	if want := "1 <nil>\n1 <nil>\n" + strings.Repeat("pfsync0: Operation not permitted (needs root)\n", 3) +
		"true <nil>\nsysctl: Operation not permitted (needs root)\n" +
		"2 <nil> true <nil>\n" + strings.TrimSpace(strings.Repeat("Operation not permitted (needs root) ", 4)) + "\n"; out != want {
		t.Errorf("uid 65534 got %q, want %q", out, want)
	}
	if changes := node.Changes(); len(changes) != 0 {
		t.Errorf("changed: %+v", changes)
	}
	if n := counter(t, h, "ctldenied"); n != 8 {
		t.Errorf("ctldenied %d, want 8", n)
	}
}

// runGuest runs this test's binary as uid 65534 (nobody) in the namespace.
func runGuest(t *testing.T, h host) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe") // by descriptor: nobody cannot enter go test's directory
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = []string{asGuest + "=1"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return out.String()
}

func counter(t *testing.T, h host, name string) uint64 {
	t.Helper()
	list, err := h.client.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}

func TestClientRefusesAnImpostor(t *testing.T) {
	h := newHost(t)
	var l net.Listener
	// The credentials a client sees are those of the moment of listen.
	if err := h.Do(func() (err error) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			return errno
		}
		l, err = control.Listen()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno != 0 {
			return errno
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err := h.client.Change(t.Context(), ifconfig.Change{Interface: "pfsync0", Up: new(true)})
	want := "pfsyncd: control socket: uid 65534 listens on @pfsyncd in pfsyncd's place; end that process"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestHostileRequests(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/change HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" }
	for _, test := range []struct {
		name, request string
		status        int
		want          string // in the answer
	}{
		{"no HTTP", "\x00\x01\x02\r\n\r\n", 400, "Bad Request"},
		{"long header", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "Request Header Fields Too Large"},
		{"unknown path", get("/v1/../etc"), 404, `{"error":"\"/v1/../etc\": no such endpoint"}`},
		{"wrong method", strings.Replace(get("/v1/change"), "GET", "DELETE", 1), 405, `{"error":"/v1/change: takes POST only"}`},
		{"long body", post(`{"interface":"` + strings.Repeat("x", 128<<10) + `"}`), 413, `{"error":"change: longer than 65536 bytes"}`},
		{"empty body", post(""), 400, `{"error":"change: EOF"}`},
		{"no object", post("7"), 400, `{"error":"change: json: cannot unmarshal number`},
		{"deep nesting", post(strings.Repeat("[", 20000)), 400, `{"error":"change: `},
		{"wrong type", post(`{"interface":"pfsync0","maxupd":"64"}`), 400, `{"error":"change: json: cannot unmarshal string`},
		{"bulk by GET", get("/v1/bulk"), 405, `{"error":"/v1/bulk: takes POST only"}`},
		{"bulk of something", strings.Replace(post(`{"peer":"10.0.0.2"}`), "change", "bulk", 1), 400, `{"error":"bulk: takes no body`},
		{"push by GET", get("/v1/push"), 405, `{"error":"/v1/push: takes POST only"}`},
		{"push to someone", strings.Replace(post(`{"peer":"10.0.0.2"}`), "change", "push", 1), 400, `{"error":"push: takes no body`},
		{"yield by GET", get("/v1/yield"), 405, `{"error":"/v1/yield: takes POST only"}`},
		{"yield of something", strings.Replace(post(`{"carp":"carp0"}`), "change", "yield", 1), 400, `{"error":"yield: takes no body`},
		{"unknown field", post(`{"interface":"pfsync0","up":true,"vhid":1}`), 400, `{"error":"change: json: unknown field \"vhid\""}`},
		{"two objects", post(`{"interface":"pfsync0"}{"interface":"pfsync0"}`), 400, `{"error":"change: more than one object"}`},
		{"no interface", post(`{}`), 400, `bad value"}`},
		{"another's interface", post(`{"interface":"sis0","up":false}`), 400, `{"error":"sis0: not an interface of pfsyncd"}`},
		{"out of range", post(`{"interface":"pfsync0","up":true,"maxupd":70000}`), 400, `{"error":"maxupd 70000: too large (1 to 255)"}`},
		{"not a name", post(`{"interface":"pfsync0","syncdev":"../../x"}`), 400, `{"error":"syncdev ../../x: not the name of an interface"}`},
		{"not a key", post(`{"interface":"pfsync0","key":"5ec1e75ec1e7"}`), 400,
			`{"error":"key: 12 characters instead of 64 hexadecimal digits"}`},
		{"not a key's digits", post(`{"interface":"pfsync0","key":"` + strings.Repeat("secret7!", 8) + `"}`), 400,
			`{"error":"key: has other characters than hexadecimal digits"}`},
		{"a key that is no text", post(`{"interface":"pfsync0","key":5017}`), 400,
			`{"error":"change: json: cannot unmarshal number into Go struct field request.key of type string"}`},
		{"another interface's key", post(`{"interface":"sis0","key":""}`), 400, `{"error":"sis0: not a pfsync interface"}`},
		{"not an address", post(`{"interface":"pfsync0","syncpeer":"x"}`), 400, `{"error":"change: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := controltest.Dial(h.NS)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, test.request); err != nil && !errors.Is(err, syscall.EPIPE) {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) { // the server left something unread
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || !strings.Contains(string(body), test.want) {
				t.Errorf("%s %s, want %d %s", resp.Status, body, test.status, test.want)
			}
		})
	}
	if changes := node.Changes(); len(changes) != 0 {
		t.Errorf("changed: %+v", changes)
	}
	if n := counter(t, h, "ctlinvalid"); n != 24 {
		t.Errorf("ctlinvalid %d, want one for each request that was HTTP: 24", n)
	}
}

func TestGuestsCannotExhaustConnections(t *testing.T) {
	h := newHost(t)
	h.serve(t, controltest.NewNode())
	const held = 40 // of these 32 are let in
	conns := make([]net.Conn, 0, held)
	if err := h.Do(func() error {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			return errno
		}
		defer syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0))
		for range held {
			c, err := net.Dial("unix", control.Address)
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, c := range conns {
		defer c.Close()
		if i < held-8 {
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("guest %d is let in", i)
		}
	}
	if n := counter(t, h, "ctlguests"); n != 8 { // root is still served
		t.Errorf("ctlguests %d, want 8", n)
	}
}

// stuck is a node whose Status takes until release is closed.
type stuck struct {
	*controltest.Node
	entered, release chan struct{}
}

func (n stuck) Status() (control.Status, error) {
	close(n.entered)
	<-n.release
	return n.Node.Status()
}

func TestServeReturnsWhenTheNodeIsNotUsedAnyMore(t *testing.T) {
	h := newHost(t)
	node := stuck{controltest.NewNode(), make(chan struct{}), make(chan struct{})}
	stop := h.serve(t, node)
	answered := make(chan error, 1)
	go func() { _, err := h.client.Status(context.Background()); answered <- err }()
	<-node.entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // the listener is closed first; from then on the server waits for the node alone
		c, err := controltest.Dial(h.NS)
		if err != nil {
			break
		}
		c.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("Serve returned (%v) while the node was at work", err)
	default:
	}
	close(node.release)
	if err := <-answered; err != nil {
		t.Errorf("the request in progress got %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
