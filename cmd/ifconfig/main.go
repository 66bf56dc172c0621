// Ifconfig shows and sets interfaces with OpenBSD's grammar: pfsync0 through pfsyncd's
// control socket, Linux's own interfaces through rtnetlink. See ifconfig(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vishvananda/netlink/nl"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/links"
	"github.com/pfsync-linux/pfsync/sync/control"
)

func main() {
	nl.EnableErrorMessageReporting = true // the kernel's own words in errors
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// errSilent ends the program with status 1 after its reason was printed.
var errSilent = errors.New("already said")

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:            "ifconfig",
		SkipFlagParsing: true, // the grammar is BSD's, in package ifconfig
		HideHelp:        true,
		HideHelpCommand: true,
		HideVersion:     true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			return command(c.Context, c.Args().Slice(), stdout, stderr)
		},
	}
	err := app.Run(append([]string{app.Name}, args...))
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
	default:
		fmt.Fprintf(stderr, "ifconfig: %v\n", err)
	}
	return 1
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cmd, err := ifconfig.Parse(args)
	switch {
	case err != nil:
		return err
	case cmd.Help:
		return help(stdout)
	case cmd.Cloners:
		_, err := fmt.Fprintln(stdout, strings.Join(ifconfig.Cloners(), " "))
		return err
	case cmd.LLAddr != "":
		return printOwner(cmd.LLAddr, stdout)
	case cmd.Group != "":
		return group(ctx, cmd, stdout)
	case cmd.Change != nil:
		for _, w := range cmd.Change.Warnings {
			fmt.Fprintf(stderr, "ifconfig: warning: %s\n", w)
		}
		daemon := control.NewClient()
		daemon.Patience = time.Second // it may have been started a moment ago
		if err := links.Apply(ctx, daemon, *cmd.Change); err != nil {
			return err
		}
		return noteNoAddress(ctx, daemon, *cmd.Change, stderr)
	}
	return display(ctx, cmd.Display, stdout, stderr)
}

// noteNoAddress tells of a vhid that takes no part because it has no address, which is no error: the next
// command may give it one.
func noteNoAddress(ctx context.Context, daemon *control.Client, c ifconfig.Change, stderr io.Writer) error {
	if c.Carp == nil || c.Carp.VHID == nil || len(c.Carp.Addresses) > 0 {
		return nil
	}
	list, err := daemon.Interfaces(ctx)
	if err != nil {
		return err
	}
	for _, i := range list {
		if v := i.Carp; v == nil || v.VHID != *c.Carp.VHID || i.Name != c.Interface && v.CarpDev != c.Interface {
			continue
		}
		if len(i.Inet)+len(i.Inet6) == 0 {
			fmt.Fprintf(stderr, "ifconfig: warning: %s: vhid %d has no address yet, and takes no part until it has\n", i.Name, *c.Carp.VHID)
		}
	}
	return nil
}

// pfsync0 is the interface that pfsyncd owns.
const pfsync0 = "pfsync0"

func display(ctx context.Context, d ifconfig.Display, stdout, stderr io.Writer) error {
	if d.Style == "" {
		d.Style = ifconfig.StyleBoth
		if s := os.Getenv("PFIFCONFIG_STYLE"); s != "" {
			var err error
			if d.Style, err = ifconfig.ParseStyle(s); err != nil {
				return fmt.Errorf("PFIFCONFIG_STYLE: %w", err)
			}
		}
	}
	all, daemonErr, err := interfaces(ctx, d)
	if err != nil {
		return err
	}
	silent := daemonErr != nil && !errors.Is(daemonErr, control.ErrNotRunning)
	picked, err := d.Select(all)
	switch {
	case err != nil && silent:
		return daemonErr
	case err != nil && (d.Name == pfsync0 || ifconfig.IsCarp(d.Name)) && daemonErr != nil:
		fmt.Fprintf(stderr, "%v (%v)\n", err, daemonErr)
		return errSilent
	case err != nil:
		fmt.Fprintln(stderr, err) // without the program's name, as on BSD
		return errSilent
	case d.JSON:
		err = ifconfig.PrintJSON(stdout, picked)
	default:
		err = ifconfig.Print(stdout, picked, d.Style)
	}
	if err == nil && silent {
		return daemonErr // what is shown lacks pfsync0 and carp
	}
	return err
}

// interfaces lists the kernel's interfaces with the daemon's in the place of those of the
// same name. daemonErr tells why the daemon's are missing. The daemon is not asked when the
// kernel has what is wanted and carries no carp.
func interfaces(ctx context.Context, d ifconfig.Display) (all []ifconfig.Interface, daemonErr, err error) {
	l, err := links.Open()
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	all, err = l.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	named := func(name string) func(ifconfig.Interface) bool {
		return func(i ifconfig.Interface) bool { return i.Name == name || slices.Contains(i.AltNames, name) }
	}
	kernels := d.Name != pfsync0 && !ifconfig.IsCarp(d.Name) && slices.ContainsFunc(all, named(d.Name))
	carries := slices.ContainsFunc(all, func(i ifconfig.Interface) bool { return ifconfig.IsCarp(i.Name) })
	if kernels && !carries && d.Style != ifconfig.StyleFreeBSD {
		return all, nil, nil
	}
	owned, daemonErr := control.NewClient().Interfaces(ctx)
	if daemonErr != nil && !errors.Is(daemonErr, control.ErrNotRunning) {
		daemonErr = fmt.Errorf("%s: %w", pfsync0, daemonErr)
		all = slices.DeleteFunc(all, named(pfsync0)) // the kernel's view of it would mislead
	}
	if kernels {
		daemonErr = nil // what is wanted is shown
	}
	all = ifconfig.AddCarp(all, owned)
	if d.Style == ifconfig.StyleFreeBSD && !ifconfig.IsCarp(d.Name) && !d.JSON {
		all = ifconfig.WithoutCarp(all)
	}
	for _, o := range owned {
		if o.Carp != nil {
			continue
		}
		if at := slices.IndexFunc(all, named(o.Name)); at >= 0 {
			o.Description = all[at].Description // these two are the kernel's
			o.Groups = append(o.Groups, all[at].Groups...)
			all[at] = o
		} else {
			all = append(all, o)
		}
	}
	return all, daemonErr, nil
}

// group changes the demotion of a group, or shows it.
func group(ctx context.Context, cmd ifconfig.Command, stdout io.Writer) error {
	daemon := control.NewClient()
	if cmd.Demote != nil {
		daemon.Patience = time.Second
		return daemon.Demote(ctx, ifconfig.Demote{Group: cmd.Group, Count: *cmd.Demote})
	}
	list, err := daemon.Demotion(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Group == cmd.Group {
			_, err := fmt.Fprintf(stdout, "%s: carp demote count %d\n", d.Group, d.Count)
			return err
		}
	}
	return fmt.Errorf("%s: no carp interface is in this group", ifconfig.Shown(cmd.Group))
}

// printOwner prints the one interface that has a link-layer address.
func printOwner(lladdr string, stdout io.Writer) error {
	l, err := links.Open()
	if err != nil {
		return err
	}
	defer l.Close()
	all, err := l.Interfaces()
	if err != nil {
		return err
	}
	var names []string
	for _, i := range all {
		if i.LLAddr == lladdr {
			names = append(names, i.Name)
		}
	}
	switch len(names) {
	case 0:
		return fmt.Errorf("-M %s: no interface has this address", lladdr)
	case 1:
		_, err := fmt.Fprintln(stdout, names[0])
		return err
	}
	return fmt.Errorf("-M %s: several interfaces have this address: %s", lladdr, strings.Join(names, " "))
}

func help(w io.Writer) error {
	fmt.Fprintf(w, "%v\n\nWords for pfsync0:\n", ifconfig.ErrUsage)
	printKeywords(w, pfsync0)
	fmt.Fprint(w, "\nWords for carp0:\n")
	printKeywords(w, "carp0")
	fmt.Fprint(w, "\nWords for other interfaces:\n")
	printKeywords(w, "eth0")
	for _, name := range []string{"bridge0", "pair0", "vlan0"} {
		fmt.Fprintf(w, "\nMore words for %s:\n", name)
		printKeywords(w, name, "eth0")
	}
	_, err := fmt.Fprint(w, "\nSee ifconfig(8).\n")
	return err
}

// printKeywords lists the words for an interface, without those that it shares with another one.
func printKeywords(w io.Writer, name string, without ...string) {
	known := make(map[string]bool)
	for _, other := range without {
		for _, k := range ifconfig.Keywords(other) {
			known[k.Word] = true
		}
	}
	for _, k := range ifconfig.Keywords(name) {
		if known[k.Word] {
			continue
		}
		if k.Arg != "" {
			fmt.Fprintf(w, "  %s %s\n", k.Word, k.Arg)
		} else {
			fmt.Fprintf(w, "  %s\n", k.Word)
		}
	}
}
