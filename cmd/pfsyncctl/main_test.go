package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

type fake struct{ err error }

func (f fake) Counters(context.Context) ([]pfstate.Counter, error) {
	return []pfstate.Counter{
		{Name: "ipackets", Help: "packets received (IPv4)", Value: 812},
		{Name: "badver", Help: "packets discarded for bad version"},
	}, f.err
}

func (f fake) Status(context.Context) (control.Status, error) {
	return control.Status{Table: "conntrack", Creator: 0xa1, Bulk: "done", States: control.States{Local: 3, Imported: 4}}, f.err
}

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
		{"status", nil, "table: conntrack\ncreatorid: 000000a1\nstates: 3 local, 4 imported\nbulk update: done\n", ""},
		{"status --json", nil, `{
  "schema": 1,
  "status": {
    "table": "conntrack",
    "states": {
      "local": 3,
      "imported": 4
    },
    "bulk": "done",
    "creatorid": "000000a1"
  }
}
`, ""},
		{"stats", control.ErrNotRunning, "", "pfsyncctl: " + control.ErrNotRunning.Error() + "\n"},
		{"stat", nil, "", "pfsyncctl: stat: unknown command, choose stats or status\n"},
		{"stats -z", nil, "", "pfsyncctl: flag provided but not defined: -z (usage: pfsyncctl stats [-a] [--json] | status [--json])\n"},
		{"-z", nil, "", "pfsyncctl: flag provided but not defined: -z (usage: pfsyncctl stats [-a] [--json] | status [--json])\n"},
		{"stats foo", nil, "", "pfsyncctl: foo: unexpected behind stats (usage: pfsyncctl stats [-a] [--json] | status [--json])\n"},
		{"status --json extra", nil, "", "pfsyncctl: extra: unexpected behind status (usage: pfsyncctl stats [-a] [--json] | status [--json])\n"},
		{"status", control.ErrNoAnswer, "", "pfsyncctl: pfsyncd does not answer\n"},
		{strings.Repeat("x", 61), nil, "", "pfsyncctl: " + strings.Repeat("x", 60) + "...: unknown command, choose stats or status\n"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"pfsyncctl"}, strings.Fields(c.args)...), fake{c.err}, &stdout, &stderr)
		if stdout.String() != c.stdout || stderr.String() != c.stderr || (code == 0) != (c.stderr == "") {
			t.Errorf("pfsyncctl %s: status %d\n%s%s", c.args, code, &stdout, &stderr)
		}
	}
}
