// Command pfsyncctl shows what the pfsyncd of this network namespace knows and
// counts. See pfsyncctl(8).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

func main() {
	os.Exit(run(os.Args, control.NewClient(), os.Stdout, os.Stderr))
}

// daemon is what the program asks; control.Client.
type daemon interface {
	Counters(ctx context.Context) ([]pfstate.Counter, error)
	Status(ctx context.Context) (control.Status, error)
}

const usage = "usage: pfsyncctl stats [-a] [--json] | status [--json]"

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
				Name: "stats", Usage: "counters that are not zero; with -a all of them",
				OnUsageError: wrong, HideHelpCommand: true, Before: alone,
				Flags: []cli.Flag{asJSON, &cli.BoolFlag{Name: "a", Usage: "also those that are zero"}},
				Action: func(c *cli.Context) error {
					all, err := d.Counters(c.Context)
					if err != nil {
						return err
					}
					return printCounters(stdout, all, c.Bool("a"), c.Bool("json"))
				},
			},
			{
				Name: "status", Usage: "state table, creatorid, states, bulk update",
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
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("%s: unknown command, choose stats or status", ifconfig.Shown(c.Args().First()))
			}
			return cli.ShowAppHelp(c)
		},
	}
	if err := app.Run(args); err != nil {
		fmt.Fprintf(stderr, "pfsyncctl: %v\n", err)
		return 1
	}
	return 0
}

func printCounters(w io.Writer, all []pfstate.Counter, zero, asJSON bool) error {
	if asJSON {
		return printJSON(w, "counters", all)
	}
	for _, c := range all {
		if c.Value == 0 && !zero {
			continue
		}
		if _, err := fmt.Fprintf(w, "%12d  %-24s %s\n", c.Value, c.Name, c.Help); err != nil {
			return err
		}
	}
	return nil
}

func printStatus(w io.Writer, s control.Status, asJSON bool) error {
	if asJSON {
		return printJSON(w, "status", s)
	}
	_, err := fmt.Fprintf(w, "table: %s\ncreatorid: %08x\nstates: %d local, %d imported\nbulk update: %s\n",
		s.Table, s.Creator, s.States.Local, s.States.Imported, s.Bulk)
	return err
}

func printJSON(w io.Writer, key string, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{"schema": 1, key: value})
}
