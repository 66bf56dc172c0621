package control_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/control/controltest"
)

func TestSysctlsAreSetAndRead(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	h.serve(t, node)
	preempt := sysctl.Setting{Name: "net.inet.carp.preempt", Value: 1}
	for _, want := range []int64{0, 1} {
		old, err := h.client.SetSysctl(t.Context(), preempt)
		if err != nil || old != want {
			t.Errorf("it was %d, %v, want %d", old, err, want)
		}
	}
	list, err := h.client.Sysctls(t.Context())
	if err != nil || !slices.Contains(list, preempt) || !slices.Contains(list, sysctl.Setting{Name: "net.inet.carp.allow", Value: 1}) {
		t.Errorf("%v, %v", list, err)
	}
	// Root's own programs speak HTTP too.
	for s, want := range map[sysctl.Setting]string{
		{Name: "net.inet.carp.preempt", Value: 2}: "net.inet.carp.preempt: 2 is too large (0 to 1)",
		{Name: "kernel.panic"}:                    "unknown oid 'kernel.panic'",
		{Name: "net.pfsync.pfsync_buckets"}:       "net.pfsync.pfsync_buckets: read only; pfsyncd chooses it",
	} {
		if _, err := h.client.SetSysctl(t.Context(), s); err == nil || err.Error() != want {
			t.Errorf("%v: error %v, want %s", s, err, want)
		}
	}
	if n := counter(t, h, "ctlinvalid"); n != 3 {
		t.Errorf("ctlinvalid %d, want 3", n)
	}
}

func TestSysctlRequestsThatMakeNoSense(t *testing.T) {
	h := newHost(t)
	h.serve(t, controltest.NewNode())
	for _, c := range []struct {
		method, body string
		status       int
		want         string
	}{
		{http.MethodPut, "", http.StatusMethodNotAllowed, "/v1/sysctl: takes GET and POST only"},
		{http.MethodPost, "{", http.StatusBadRequest, "sysctl: unexpected EOF"},
		{http.MethodPost, `{"name":"net.inet.carp.preempt","value":1}{}`, http.StatusBadRequest, "sysctl: more than one object"},
		{http.MethodPost, `{"name":"net.inet.carp.preempt","value":1,"x":2}`, http.StatusBadRequest, `sysctl: json: unknown field \"x\"`},
		{http.MethodPost, strings.Repeat(" ", 70000), http.StatusRequestEntityTooLarge, "sysctl: longer than 65536 bytes"},
	} {
		conn, err := controltest.Dial(h.NS)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://pfsyncd/v1/sysctl", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if want := `{"error":"` + c.want + `"}` + "\n"; err != nil || resp.StatusCode != c.status || string(body) != want {
			t.Errorf("%s %.40s: %d %s %v, want %d %s", c.method, c.body, resp.StatusCode, body, err, c.status, want)
		}
		if c.status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "GET, POST" {
			t.Errorf("Allow: %s", resp.Header.Get("Allow"))
		}
	}
}

// A refusal tells which word is to blame.
func TestTheWordToBlameReachesTheOperator(t *testing.T) {
	h, node := newHost(t), controltest.NewNode()
	node.Refuse = func(ifconfig.Change) error {
		return &control.WordError{Word: "syncdev", Err: errors.New("pfsync0: syncdev em9: no such interface")}
	}
	h.serve(t, node)
	err := h.client.Change(t.Context(), up)
	if e, ok := errors.AsType[*control.WordError](err); !ok || e.Word != "syncdev" || err.Error() != "pfsync0: syncdev em9: no such interface" {
		t.Errorf("error %#v", err)
	}
}
