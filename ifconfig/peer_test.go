package ifconfig_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

func TestPeersInJSON(t *testing.T) {
	b, err := json.Marshal([]ifconfig.Peer{linuxPeer(), brokenPeer()})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"address":"192.168.254.253","creatorid":"0b5b3f2a","kind":"linux","state":"up","age":0.449,"states":1200,"sync":"yes","problems":[]},` +
		`{"address":"fe80::1%sis2","kind":"version-5","state":"dead","age":75,"states":0,"sync":"unknown",` +
		`"problems":["does not hear us","speaks version 5, which is not understood"]}]`
	if string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
}

// None heard and none told of are two things, also behind the control socket.
func TestPeersSurviveJSON(t *testing.T) {
	for _, peers := range [][]ifconfig.Peer{nil, {}, {linuxPeer(), brokenPeer()}} {
		want := ifconfig.PFSync{Syncdev: "sis2", Creator: 0xa1, Peers: peers}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got ifconfig.PFSync
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", b, diff)
		}
	}
}

func TestSecondsInJSON(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		text string
		back time.Duration
	}{
		{0, "0", 0},
		{400 * time.Millisecond, "0.4", 400 * time.Millisecond},
		{1001 * time.Millisecond, "1.001", 1001 * time.Millisecond},
		{1499600 * time.Nanosecond, "0.001", time.Millisecond},
		{1500 * time.Microsecond, "0.002", 2 * time.Millisecond},
		{10*time.Minute + 290*time.Millisecond, "600.29", 10*time.Minute + 290*time.Millisecond},
	} {
		b, err := json.Marshal(ifconfig.Seconds(c.d))
		if err != nil || string(b) != c.text {
			t.Errorf("%v is %s, %v; want %s", c.d, b, err, c.text)
		}
		var back ifconfig.Seconds
		if err := json.Unmarshal(b, &back); err != nil || time.Duration(back) != c.back {
			t.Errorf("%s is %v, %v; want %v", b, time.Duration(back), err, c.back)
		}
	}
	var s ifconfig.Seconds
	if err := json.Unmarshal([]byte(`"1s"`), &s); err == nil || !strings.HasSuffix(err.Error(), "not a number of seconds") {
		t.Errorf("a text: %v", err)
	}
}

func TestPeerOK(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*ifconfig.Peer)
		want  bool
	}{
		{"in sync", func(*ifconfig.Peer) {}, true},
		{"out of sync", func(p *ifconfig.Peer) { p.Sync = "no" }, false},
		{"not compared yet", func(p *ifconfig.Peer) { p.Sync = "unknown" }, false},
		{"a BSD, which does not tell", func(p *ifconfig.Peer) { p.Kind, p.Sync = "openbsd", "unknown" }, true},
		{"stale", func(p *ifconfig.Peer) { p.State = "stale" }, false},
		{"dead", func(p *ifconfig.Peer) { p.State = "dead" }, false},
		{"one-way", func(p *ifconfig.Peer) { p.Problems = []string{"does not hear us"} }, false},
	} {
		p := linuxPeer()
		if c.spoil(&p); p.OK() != c.want {
			t.Errorf("%s: OK is %v", c.name, p.OK())
		}
	}
}
