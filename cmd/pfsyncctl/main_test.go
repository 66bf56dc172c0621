package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/test/clitest"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain lets the scripts run pfsyncctl as a program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pfsyncctl": main})
}

// TestScripts runs testdata/*.txtar; their commands are those of clitest.Run.
func TestScripts(t *testing.T) { clitest.Run(t, *update) }

type fake struct {
	err   error
	peers []ifconfig.Peer
	more  []pfstate.Counter

	interfaces []ifconfig.Interface
	table      string // "": conntrack
}

func (f fake) tableName() string {
	if f.table != "" {
		return f.table
	}
	return "conntrack"
}

func (f fake) Bulk(context.Context) error { return f.err }

func (f fake) Demotion(context.Context) ([]ifconfig.Demotion, error) { return nil, f.err }

func (f fake) Transitions(context.Context, uint64) (control.Transitions, error) {
	return control.Transitions{}, f.err
}

func (f fake) Push(context.Context) error { return f.err }

func (f fake) Yield(context.Context) error { return f.err }

func (f fake) Interfaces(context.Context) ([]ifconfig.Interface, error) { return f.interfaces, f.err }

func (f fake) Peers(context.Context) ([]ifconfig.Peer, error) { return f.peers, f.err }

func (f fake) Counters(context.Context) ([]pfstate.Counter, error) {
	return append([]pfstate.Counter{
		{Name: "ipackets", Help: "packets received (IPv4)", Value: 812},
		{Name: "badver", Help: "packets discarded for bad version"},
	}, f.more...), f.err
}

func (f fake) Rules(context.Context) (control.Rules, error) {
	return control.Rules{Enabled: true}, f.err
}

func (f fake) Status(context.Context) (control.Status, error) {
	return control.Status{Table: f.tableName(), Creator: 0xa1, Bulk: "done", States: control.States{Local: 3, Imported: 4},
		Peers: f.peers}, f.err
}

func (f fake) Sysctls(context.Context) ([]sysctl.Setting, error) {
	return []sysctl.Setting{{Name: "net.inet.carp.allow", Value: 1}}, f.err
}

func (f fake) SetSysctl(context.Context, sysctl.Setting) (int64, error) { return 0, f.err }

func TestPfsyncctl(t *testing.T) {
	for _, c := range []struct {
		args           string
		err            error
		stdout, stderr string
	}{
		{"stats", nil, "         812  ipackets                 packets received (IPv4)\n", ""},
		{"stats -a", nil, "         812  ipackets                 packets received (IPv4)\n" +
			"           0  badver                   packets discarded for bad version\n", ""},
		{"stats --json", nil, `{
  "counters": [
    {
      "name": "ipackets",
      "help": "packets received (IPv4)",
      "value": 812
    },
    {
      "name": "badver",
      "help": "packets discarded for bad version",
      "value": 0
    }
  ],
  "schema": 1
}
`, ""},
		{"status", nil, "table: conntrack\ncreatorid: 000000a1\nstates: 3 local, 4 imported\nbulk update: done\npeer: none heard\n", ""},
		{"status --json", nil, `{
  "schema": 1,
  "status": {
    "table": "conntrack",
    "entries": 0,
    "limit": 0,
    "states": {
      "local": 3,
      "imported": 4
    },
    "bulk": "done",
    "queued": 0,
    "peers": [],
    "creatorid": "000000a1"
  }
}
`, ""},
		{"peers", control.ErrNotRunning, "", "pfsyncctl: " + control.ErrNotRunning.Error() + "\n"},
		{"stats", control.ErrNotRunning, "", "pfsyncctl: " + control.ErrNotRunning.Error() + "\n"},
		{"bulk", nil, "", ""},
		{"bulk", errors.New("pfsync0: Operation not permitted (needs root)"), "", "pfsyncctl: pfsync0: Operation not permitted (needs root)\n"},
		{"bulk now", nil, "", "pfsyncctl: now: unexpected behind bulk (" + usage + ")\n"},
		{"stat", nil, "", "pfsyncctl: stat: unknown command, choose bulk, check, demotion, diff, monitor, peers, print-rules, save, stats, status, sysctl or yield\n"},
		{"stats -z", nil, "", "pfsyncctl: flag provided but not defined: -z (" + usage + ")\n"},
		{"-z", nil, "", "pfsyncctl: flag provided but not defined: -z (" + usage + ")\n"},
		{"stats foo", nil, "", "pfsyncctl: foo: unexpected behind stats (" + usage + ")\n"},
		{"status --json extra", nil, "", "pfsyncctl: extra: unexpected behind status (" + usage + ")\n"},
		{"sysctl net.inet.carp.allow", nil, "net.inet.carp.allow=1\n", ""},
		{"sysctl net.inet.carp.log", nil, "", "pfsyncctl: net.inet.carp.log: pfsyncd does not know it; it is of another version\n"},
		{"sysctl net.inet.carp.allow=0", control.ErrNotRunning, "", "pfsyncctl: " + control.ErrNotRunning.Error() + "\n"},
		{"status", control.ErrNoAnswer, "", "pfsyncctl: pfsyncd does not answer\n"},
		{strings.Repeat("x", 61), nil, "", "pfsyncctl: " + strings.Repeat("x", 60) + "...: unknown command, choose bulk, check, demotion, diff, monitor, peers, print-rules, save, stats, status, sysctl or yield\n"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"pfsyncctl"}, strings.Fields(c.args)...), fake{err: c.err, peers: []ifconfig.Peer{}}, &stdout, &stderr)
		if stdout.String() != c.stdout || stderr.String() != c.stderr || (code == 0) != (c.stderr == "") {
			t.Errorf("pfsyncctl %s: status %d\n%s%s", c.args, code, &stdout, &stderr)
		}
	}
}

// The exit status of peers is for scripts that watch: 0 only when there is a peer, and all are in order.
func TestPeers(t *testing.T) {
	good := ifconfig.Peer{Addr: netip.MustParseAddr("192.168.254.253"), Creator: 0x0b5b3f2a, Kind: "linux", State: "up",
		Age: ifconfig.Seconds(400 * time.Millisecond), States: 1200, Sync: "yes", Problems: []string{}}
	bsd := ifconfig.Peer{Addr: netip.MustParseAddr("10.0.0.2"), Kind: "openbsd", State: "up", Sync: "unknown", Problems: []string{}}
	drifted, deaf := good, good
	drifted.Sync = "no"
	deaf.Addr, deaf.State, deaf.Age = netip.MustParseAddr("fe80::1%sis2"), "dead", ifconfig.Seconds(75*time.Second)
	deaf.Problems = []string{"does not hear us", "uses our creatorid"}
	for _, c := range []struct {
		name   string
		peers  []ifconfig.Peer
		status int
		stdout string
	}{
		{"none", []ifconfig.Peer{}, 1, "no peer is heard\n"},
		{"in sync", []ifconfig.Peer{good}, 0, `ADDRESS          CREATORID  KIND   STATE  AGE  STATES  INSYNC  PROBLEMS
192.168.254.253  0b5b3f2a   linux  up     0.4  1200    yes     -
`},
		{"a BSD beside it", []ifconfig.Peer{bsd, good}, 0, `ADDRESS          CREATORID  KIND     STATE  AGE  STATES  INSYNC   PROBLEMS
10.0.0.2         unknown    openbsd  up     0.0  0       unknown  -
192.168.254.253  0b5b3f2a   linux    up     0.4  1200    yes      -
`},
		{"out of sync", []ifconfig.Peer{bsd, drifted}, 1, `ADDRESS          CREATORID  KIND     STATE  AGE  STATES  INSYNC   PROBLEMS
10.0.0.2         unknown    openbsd  up     0.0  0       unknown  -
192.168.254.253  0b5b3f2a   linux    up     0.4  1200    no       -
`},
		{"one of two has problems", []ifconfig.Peer{good, deaf}, 1, `ADDRESS          CREATORID  KIND   STATE  AGE   STATES  INSYNC  PROBLEMS
192.168.254.253  0b5b3f2a   linux  up     0.4   1200    yes     -
fe80::1%sis2     0b5b3f2a   linux  dead   75.0  1200    yes     does not hear us; uses our creatorid
`},
	} {
		var stdout, stderr bytes.Buffer
		code := run([]string{"pfsyncctl", "peers"}, fake{peers: c.peers}, &stdout, &stderr)
		if diff := cmp.Diff(c.stdout, stdout.String()); code != c.status || diff != "" || stderr.Len() > 0 {
			t.Errorf("%s: status %d, want %d; stderr %q; -want +got:\n%s", c.name, code, c.status, &stderr, diff)
		}
		stdout.Reset()
		if code := run([]string{"pfsyncctl", "peers", "--json"}, fake{peers: c.peers}, &stdout, &stderr); code != c.status {
			t.Errorf("%s: status %d with --json, want %d", c.name, code, c.status)
		}
	}
}

// Counters that this program has never heard of are shown like the others.
func TestNewCounters(t *testing.T) {
	var stdout, stderr bytes.Buffer
	more := []pfstate.Counter{{Name: "a_counter_with_a_very_long_name", Help: "things of tomorrow", Value: 3}}
	run([]string{"pfsyncctl", "stats"}, fake{more: more}, &stdout, &stderr)
	want := "         812  ipackets                        packets received (IPv4)\n" +
		"           3  a_counter_with_a_very_long_name things of tomorrow\n"
	if stdout.String() != want || stderr.Len() > 0 {
		t.Errorf("%s%s, want\n%s", &stdout, &stderr, want)
	}
}
