// Netstart configures interfaces from hostname.if files. See netstart(8).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vishvananda/netlink/nl"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
	"github.com/pfsync-linux/pfsync/ifconfig/links"
	"github.com/pfsync-linux/pfsync/sync/control"
)

func main() {
	nl.EnableErrorMessageReporting = true // the kernel's own words in errors
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

const usage = "usage: netstart [-n] [-C dir] [interface ...]"

// pfsync0 is the one interface that is configured without being named.
const pfsync0 = "pfsync0"

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	n := &netstart{stdout: stdout, stderr: stderr}
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

// netstart is one run of the program.
type netstart struct {
	stdout, stderr io.Writer
	dry            bool   // -n: print what would be done
	dir            string // where the files are
	status         int
}

// fail reports an error; the other interfaces are still configured.
func (n *netstart) fail(err error) {
	n.say("%v", err)
	n.status = 1
}

// print prints a line that was asked for.
func (n *netstart) print(line any) {
	if _, err := fmt.Fprintln(n.stdout, line); err != nil {
		n.fail(err)
	}
}

func (n *netstart) say(format string, args ...any) {
	fmt.Fprintf(n.stderr, "netstart: "+format+"\n", args...)
}

func (n *netstart) run(ctx context.Context, names []string) {
	for _, name := range names {
		if strings.HasPrefix(name, "-") { // before anything is done: it may have been meant as -n
			n.fail(fmt.Errorf("%s: options stand before the interfaces (%s)", ifconfig.Shown(name), usage))
			return
		}
	}
	if !n.dry && os.Geteuid() != 0 {
		n.fail(errors.New("need root privileges"))
		return
	}
	if len(names) == 0 {
		var err error
		if names, err = n.unnamed(); err != nil {
			n.fail(err)
			return
		}
	}
	for _, name := range names {
		if err := n.start(ctx, name); err != nil {
			n.fail(err)
		}
	}
}

// unnamed picks what is configured when no interface is named, and tells of the files that are not.
func (n *netstart) unnamed() (names []string, err error) {
	all, err := hostname.Names(n.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if name == pfsync0 {
			names = append(names, name)
			continue
		}
		n.say("%s: left alone, only %s is configured without being named yet", hostname.Path(n.dir, name), pfsync0)
	}
	if len(names) == 0 {
		n.say("%s: No such file or directory, nothing to do", hostname.Path(n.dir, pfsync0))
	}
	return names, nil
}

// start configures one interface from its file: all of it or, if a line is wrong, nothing.
func (n *netstart) start(ctx context.Context, name string) error {
	if name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%s: no name of an interface", ifconfig.Shown(name))
	}
	path := hostname.Path(n.dir, name)
	f, err := hostname.Open(path, !n.dry, func(text string) { fmt.Fprintln(n.stderr, text) })
	if err != nil {
		return err
	}
	defer f.Close()
	commands, err := hostname.Parse(f, name, path)
	if err != nil {
		return err
	}
	if n.dry {
		for _, c := range commands {
			if _, err := fmt.Fprintln(n.stdout, c); err != nil {
				return err
			}
		}
		return nil
	}
	if len(commands) == 0 {
		return nil
	}
	c := hostname.Merge(name, commands)
	c.Create = false // a second run must find nothing wrong; what is missing is created anyway
	daemon := control.NewClient()
	daemon.Patience = 5 * time.Second // at boot it is started right before
	if err := links.Apply(ctx, daemon, c); err != nil {
		unheard := errors.Is(err, control.ErrNotRunning) || errors.Is(err, control.ErrNoAnswer)
		if len(commands) == 1 && !unheard {
			return fmt.Errorf("%s:%d: %w", path, commands[0].Line, err)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
