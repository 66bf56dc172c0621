// Command pfsyncctl shows what the pfsyncd of this network namespace knows and
// counts, names what is wrong with its set-up, and has it ask its peers for their
// tables. See pfsyncctl(8).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/cmd/pfsyncctl/check"
	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

func main() {
	os.Exit(run(os.Args, control.NewClient(), os.Stdout, os.Stderr))
}

// daemon is what the program asks; control.Client.
type daemon interface {
	Bulk(ctx context.Context) error
	Push(ctx context.Context) error
	Yield(ctx context.Context) error
	Counters(ctx context.Context) ([]pfstate.Counter, error)
	Interfaces(ctx context.Context) ([]ifconfig.Interface, error)
	Peers(ctx context.Context) ([]ifconfig.Peer, error)
	Rules(ctx context.Context) (control.Rules, error)
	Status(ctx context.Context) (control.Status, error)
	Sysctls(ctx context.Context) ([]sysctl.Setting, error)
	Demotion(ctx context.Context) ([]ifconfig.Demotion, error)
	Transitions(ctx context.Context, after uint64) (control.Transitions, error)
	SetSysctl(ctx context.Context, s sysctl.Setting) (old int64, err error)
}

const usage = "usage: pfsyncctl bulk [ask|push] | check [-v] [--json] | demotion [-q [NUMBER] | --json] | diff [--json] | monitor [--json] | peers [--json] | print-rules [--carpdev IF]... [nft|iptables|firewalld] | save [-C DIR] | stats [-a] [--bsd | --json] | status [--json] | sysctl [-n] -a|NAME[=VALUE]... | yield"

// errNotOK ends the program with status 1 after what is wrong was printed; errSilent with 2, printing nothing.
var (
	errNotOK  = errors.New("not in order")
	errSilent = errors.New("no answer")
)

// run is the program; it returns the exit status.
func run(args []string, d daemon, stdout, stderr io.Writer) int {
	asJSON := &cli.BoolFlag{Name: "json", Usage: "print JSON"}
	wrong := func(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w (%s)", err, usage) }
	alone := func(c *cli.Context) error { // what is not understood must not look as if it were
		if c.NArg() > 0 {
			return fmt.Errorf("%s: unexpected behind %s (%s)", ifconfig.Shown(c.Args().First()), c.Command.Name, usage)
		}
		return nil
	}
	app := &cli.App{
		Name:            "pfsyncctl",
		Usage:           "show what pfsyncd knows and counts",
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    wrong,
		Commands: []*cli.Command{
			{
				Name: "bulk", Usage: "ask the peers for their whole tables now, or push ours to them (root)",
				OnUsageError: wrong, HideHelpCommand: true,
				Action: func(c *cli.Context) error { return bulk(c, d, alone) },
			},
			{
				Name: "check", Usage: "what is wrong with this set-up, and the remedies; status 0 if there is no error",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags: []cli.Flag{asJSON, &cli.BoolFlag{Name: "v", Usage: "also what is right"}},
				Action: func(c *cli.Context) error {
					return printCheck(stdout, check.Gather(c.Context, d), c.Bool("v"), c.Bool("json"))
				},
			},
			{
				Name: "demotion", Usage: "why this firewall is less fit to be master",
				OnUsageError: wrong, HideHelpCommand: true,
				Flags:  []cli.Flag{asJSON, &cli.BoolFlag{Name: "q", Usage: "print nothing; status 0: by no more than 0, or the NUMBER behind it, 1: by more, 2: no answer"}},
				Action: func(c *cli.Context) error { return demotion(c, d, stdout, alone) },
			},
			{
				Name: "diff", Usage: "what differs between the peers' states and the copies here; status 0: nothing",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags:  []cli.Flag{asJSON},
				Action: func(c *cli.Context) error { return diff(c, d, stdout) },
			},
			{
				Name: "monitor", Usage: "each change of state of a carp interface, as it happens",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags:  []cli.Flag{asJSON},
				Action: func(c *cli.Context) error { return monitor(c.Context, d, stdout, stderr, c.Bool("json")) },
			},
			{
				Name: "peers", Usage: "the other firewalls; status 0 if all are up and in sync",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags: []cli.Flag{asJSON},
				Action: func(c *cli.Context) error {
					list, err := d.Peers(c.Context)
					if err != nil {
						return err
					}
					if err := printPeers(stdout, list, c.Bool("json")); err != nil {
						return err
					}
					if len(list) == 0 || slices.ContainsFunc(list, func(p ifconfig.Peer) bool { return !p.OK() }) {
						return errNotOK
					}
					return nil
				},
			},
			{
				Name: "print-rules", Usage: "the rules for nftables (nft), iptables or firewalld that this set-up needs; nothing is applied",
				OnUsageError: wrong, HideHelpCommand: true,
				Flags:  []cli.Flag{&cli.StringSliceFlag{Name: "carpdev", Usage: "`IF` carries carp too; may be repeated"}},
				Action: func(c *cli.Context) error { return printRules(c, d, stdout) },
			},
			{
				Name: "save", Usage: "keep the configuration of pfsync0 and carp in /etc/hostname.IF (root)",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags:  []cli.Flag{&cli.StringFlag{Name: "C", Value: "/etc", Usage: "write into `DIR` instead"}},
				Action: func(c *cli.Context) error { return save(c, d, stdout, stderr) },
			},
			{
				Name: "stats", Usage: "counters that are not zero; with -a all of them",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags: []cli.Flag{
					asJSON,
					&cli.BoolFlag{Name: "a", Usage: "also those that are zero"},
					&cli.BoolFlag{Name: "bsd", Usage: "print as netstat -s -p pfsync and -p carp do"},
				},
				Action: func(c *cli.Context) error {
					if c.Bool("bsd") && c.Bool("json") {
						return errors.New("stats: --bsd and --json exclude each other")
					}
					all, err := d.Counters(c.Context)
					if err != nil {
						return err
					}
					if c.Bool("bsd") {
						return printBSD(stdout, all, c.Bool("a"))
					}
					return printCounters(stdout, all, c.Bool("a"), c.Bool("json"))
				},
			},
			{
				Name: "status", Usage: "state table, creatorid, states, bulk update, peers",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags: []cli.Flag{asJSON},
				Action: func(c *cli.Context) error {
					s, err := d.Status(c.Context)
					if err != nil {
						return err
					}
					return printStatus(stdout, s, c.Bool("json"))
				},
			},
			sysctlCommand(d, stdout),
			{
				Name: "yield", Usage: "tell pfsyncd that another firewall carries the traffic now; carp does so by itself (root)",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Action: func(c *cli.Context) error { return d.Yield(c.Context) },
			},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("%s: unknown command, choose bulk, check, demotion, diff, monitor, peers, print-rules, save, stats, status, sysctl or yield", ifconfig.Shown(c.Args().First()))
			}
			return cli.ShowAppHelp(c)
		},
	}
	switch err := app.Run(args); {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return 2
	case !errors.Is(err, errNotOK):
		fmt.Fprintf(stderr, "pfsyncctl: %v\n", err)
	}
	return 1
}

// printPeers makes a table of the peers, one line each. The first line names the columns.
func printPeers(w io.Writer, list []ifconfig.Peer, asJSON bool) error {
	if asJSON {
		return printJSON(w, "peers", list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no peer is heard")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tCREATORID\tKIND\tSTATE\tAGE\tSTATES\tINSYNC\tPROBLEMS")
	for _, p := range list {
		creator, problems := "unknown", "-"
		if p.Creator != 0 {
			creator = p.Creator.String()
		}
		if len(p.Problems) > 0 {
			problems = strings.Join(p.Problems, "; ")
		}
		fmt.Fprintf(t, "%v\t%s\t%s\t%s\t%.1f\t%d\t%s\t%s\n",
			p.Addr, creator, p.Kind, p.State, time.Duration(p.Age).Seconds(), p.States, p.Sync, problems)
	}
	return t.Flush()
}

func printCounters(w io.Writer, all []pfstate.Counter, zero, asJSON bool) error {
	if asJSON {
		return printJSON(w, "counters", all)
	}
	width := 24 // the daemon's list, not this program, decides on the names
	for _, c := range all {
		width = max(width, len(c.Name))
	}
	for _, c := range all {
		if c.Value == 0 && !zero {
			continue
		}
		if _, err := fmt.Fprintf(w, "%12d  %-*s %s\n", c.Value, width, c.Name, c.Help); err != nil {
			return err
		}
	}
	return nil
}

func printStatus(w io.Writer, s control.Status, asJSON bool) error {
	if asJSON {
		return printJSON(w, "status", s)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table: %s\ncreatorid: %08x\nstates: %d local, %d imported\nbulk update: %s\n",
		s.Table, s.Creator, s.States.Local, s.States.Imported, s.Bulk)
	if len(s.Peers) == 0 {
		b.WriteString("peer: none heard\n")
	}
	for _, p := range s.Peers { // as ifconfig has them
		fmt.Fprintf(&b, "peer: %v\n", p)
		for _, problem := range p.Problems {
			fmt.Fprintf(&b, "\tproblem: %s\n", problem)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printJSON(w io.Writer, key string, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{"schema": 1, key: value})
}
