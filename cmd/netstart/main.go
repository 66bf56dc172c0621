// Netstart configures interfaces from hostname.if files, or from an rc.conf. See netstart(8).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vishvananda/netlink/nl"

	"github.com/pfsync-linux/pfsync/sync/control"
)

func main() {
	nl.EnableErrorMessageReporting = true // the kernel's own words in errors
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

const usage = "usage: netstart [-n] [--show-secrets] [-C dir] [-f rc.conf] [interface ...]"

// patience is how long the daemon is waited for: at boot it is started right before.
const patience = 5 * time.Second

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	n := &netstart{stdout: stdout, stderr: stderr, daemon: control.NewClient()}
	n.daemon.Patience = patience
	app := &cli.App{
		Name:                   "netstart",
		HideHelp:               true,
		HideHelpCommand:        true,
		HideVersion:            true,
		UseShortOptionHandling: true,
		Writer:                 stdout,
		ErrWriter:              stderr,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "n", Destination: &n.dry},
			&cli.BoolFlag{Name: "show-secrets", Destination: &n.secrets},
			&cli.StringFlag{Name: "f", Destination: &n.rc},
			&cli.StringFlag{Name: "C", Value: "/etc", EnvVars: []string{"HN_DIR"}, Destination: &n.dir},
		},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			n.run(c.Context, c.Args().Slice())
			return nil
		},
	}
	err := app.Run(append([]string{app.Name}, args...))
	switch wrong, isUsage := errors.AsType[usageError](err); {
	case isUsage && errors.Is(wrong.error, flag.ErrHelp):
		n.print(usage)
	case isUsage:
		n.fail(fmt.Errorf("%w (%s)", wrong.error, usage))
	case err != nil:
		n.fail(err)
	}
	return n.status
}

type usageError struct{ error }
