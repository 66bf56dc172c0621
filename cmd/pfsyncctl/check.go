package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncctl/check"
	"github.com/pfsync-linux/pfsync/ifconfig"
)

// notShared stands in front of what is wrong: it is what is most often expected of pfsync.
const notShared = "pfsync shares connections alone: keep rules, translations, addresses and routes equal by other means.\n"

// printCheck judges s; verbose: also what is right is printed. The error is errNotOK if there are
// errors among the findings.
func printCheck(w io.Writer, s *check.Snapshot, verbose, asJSON bool) error {
	findings := check.Run(s)
	if verbose {
		findings = check.All(s)
	}
	if asJSON {
		if err := printJSON(w, "findings", findings); err != nil {
			return err
		}
	} else {
		var b strings.Builder
		b.WriteString(notShared)
		for _, f := range findings {
			fmt.Fprintln(&b, f)
		}
		if worst := check.Worst(findings); worst == "" || worst == check.Note {
			b.WriteString("nothing is wrong\n")
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	if check.Worst(findings) == check.Error {
		return errNotOK
	}
	return nil
}

// bulk asks the peers, or tells them without being asked.
func bulk(c *cli.Context, d daemon, alone cli.BeforeFunc) error {
	switch c.Args().First() {
	case "ask":
		if c.NArg() == 1 {
			return d.Bulk(c.Context)
		}
	case "push":
		if c.NArg() == 1 {
			return d.Push(c.Context)
		}
	}
	if err := alone(c); err != nil {
		return err
	}
	return d.Bulk(c.Context)
}

// difference is what is known of a peer's states and our copies of them.
type difference struct {
	Peer    string `json:"peer"`
	States  int    `json:"states"`  // that it answers for, as far as known here
	Digests string `json:"digests"` // equal, differ, or unknown: not compared, or it is a BSD
	Refused int    `json:"refused"` // of its states, by the table here
}

// drifting are the counters of differences, since the daemon began.
var drifting = []string{"drifts", "repairs", "mendedmissing", "mendedextra", "mendedchanged"}

// diff prints what is known of differences. The error is errNotOK if there are any.
func diff(c *cli.Context, d daemon, stdout io.Writer) error {
	status, err := d.Status(c.Context)
	if err != nil {
		return err
	}
	all, err := d.Counters(c.Context)
	if err != nil {
		return err
	}
	list, same := differences(status.Peers)
	counted := map[string]uint64{}
	for _, counter := range all {
		counted[counter.Name] = counter.Value
	}
	if c.Bool("json") {
		since := map[string]uint64{}
		for _, name := range drifting {
			since[name] = counted[name]
		}
		err = printJSON(stdout, "diff", map[string]any{"states": status.States, "peers": list, "counters": since})
	} else {
		var b strings.Builder
		fmt.Fprintf(&b, "states: %d local, %d imported\n", status.States.Local, status.States.Imported)
		if len(list) == 0 {
			b.WriteString("no peer is heard\n")
		}
		for _, p := range list {
			fmt.Fprintf(&b, "peer %s: answers for %d, digests %s, %d refused here\n", p.Peer, p.States, p.Digests, p.Refused)
		}
		fmt.Fprintf(&b, "so far: %d differences found, %d mended: %d missing, %d extra, %d out of date\n", counted["drifts"],
			counted["repairs"], counted["mendedmissing"], counted["mendedextra"], counted["mendedchanged"])
		_, err = io.WriteString(stdout, b.String())
	}
	if err == nil && !same {
		return errNotOK
	}
	return err
}

// differences tells of each peer, and whether all are the same as far as their kinds let know.
func differences(peers []ifconfig.Peer) (list []difference, same bool) {
	list, same = []difference{}, len(peers) > 0
	for _, p := range peers {
		one := difference{Peer: p.Addr.String(), States: p.States, Digests: map[string]string{"yes": "equal", "no": "differ"}[p.Sync]}
		for _, problem := range p.Problems {
			if n, ok := check.Refused(problem); ok {
				one.Refused = n
			}
		}
		if one.Digests == "" {
			one.Digests = "unknown"
		}
		if one.Refused > 0 || one.Digests == "differ" || one.Digests == "unknown" && p.Kind == "linux" {
			same = false
		}
		list = append(list, one)
	}
	return list, same
}
