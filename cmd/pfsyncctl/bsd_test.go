package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// The wording is that of OpenBSD's netstat, plurals and the lines without any included.
func TestStatsBSD(t *testing.T) {
	more := []pfstate.Counter{
		{Name: "badttl", Value: 1}, {Name: "ipackets6", Value: 34}, {Name: "stale", Value: 1}, {Name: "badstate", Value: 2}, {Name: "opackets", Value: 1},
		{Name: "oerrors", Value: 2}, {Name: "iacts.INS ST", Value: 5}, {Name: "iacts.EOF"},
		{Name: "oacts.BULK UPD STAT", Value: 1}, {Name: "link_sent", Value: 77},
	}
	want := "pfsync:\n" +
		"\t812 packets received (IPv4)\n" +
		"\t34 packets received (IPv6)\n" +
		"\t\t0 packets discarded for bad interface\n" +
		"\t\t1 packet discarded for bad ttl\n" +
		"\t\t0 packets shorter than header\n" +
		"\t\t0 packets discarded for bad version\n" +
		"\t\t0 packets discarded for bad HMAC\n" +
		"\t\t0 packets discarded for bad action\n" +
		"\t\t0 packets discarded for short packet\n" +
		"\t\t0 states discarded for bad values\n" +
		"\t\t1 stale state\n" +
		"\t\t2 failed state lookup/inserts\n" +
		"\t    5 state inserts received\n" +
		"\t1 packet sent (IPv4)\n" +
		"\t0 packets sent (IPv6)\n" +
		"\t\t0 send failed due to mbuf memory error\n" +
		"\t\t2 send error\n" +
		"\t    1 bulk update mark sent\n"
	var stdout, stderr bytes.Buffer
	code := run([]string{"pfsyncctl", "stats", "--bsd"}, fake{more: more}, &stdout, &stderr)
	if diff := cmp.Diff(want, stdout.String()); diff != "" || code != 0 || stderr.Len() > 0 {
		t.Errorf("status %d, %s\n-want +got:\n%s", code, &stderr, diff)
	}
	stdout.Reset()
	run([]string{"pfsyncctl", "stats", "--bsd", "-a"}, fake{}, &stdout, &stderr)
	if got, want := bytes.Count(stdout.Bytes(), []byte("\n")), 1+16+2*13; got != want {
		t.Errorf("with -a %d lines, want %d:\n%s", got, want, &stdout)
	}
	code = run([]string{"pfsyncctl", "stats", "--bsd", "--json"}, fake{}, &stdout, &stderr)
	if want := "pfsyncctl: stats: --bsd and --json exclude each other\n"; code != 1 || stderr.String() != want {
		t.Errorf("with --json: status %d, %q", code, &stderr)
	}
}

// The names of the actions are those under which they are counted.
func TestBSDActionsAreCounted(t *testing.T) {
	named := map[string]bool{}
	for _, a := range bsdActions {
		named[a.counter] = true
	}
	for a := range wire.ActMax {
		old := a == 1 || a == 3 || a == wire.ActOldTDB // formats of the past, which FreeBSD has not
		if named[a.String()] == old {
			t.Errorf("%v: named %t", a, named[a.String()])
		}
	}
}
