package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

// sysctlUsage stands behind what is wrong with the words of sysctl.
const sysctlUsage = "usage: pfsyncctl sysctl [-n] NAME[=VALUE] ... | sysctl [-n] [--json] -a"

// sysctlCommand shows and sets the variables of the BSDs.
func sysctlCommand(d daemon, stdout io.Writer) *cli.Command {
	v := &variables{daemon: d, stdout: stdout}
	return &cli.Command{
		Name: "sysctl", Usage: "show or set (root) variables of carp and pfsync, NAME or NAME=VALUE",
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w (%s)", err, sysctlUsage) },
		HideHelpCommand: true, UseShortOptionHandling: true,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "a", Usage: "all that have a value", Destination: &v.all},
			&cli.BoolFlag{Name: "n", Usage: "values only, without names", Destination: &v.bare},
			&cli.BoolFlag{Name: "json", Usage: "print JSON; goes with -a", Destination: &v.json},
		},
		Action: func(c *cli.Context) error { return v.run(c.Context, c.Args().Slice()) },
	}
}

// variables is one run of the command.
type variables struct {
	daemon          daemon
	stdout          io.Writer
	all, bare, json bool
	kept            []sysctl.Setting // the daemon's, once asked for
}

func (c *variables) run(ctx context.Context, words []string) error {
	switch {
	case c.all == (len(words) > 0) || c.json && !c.all:
		return fmt.Errorf("sysctl: a NAME, a NAME=VALUE or -a is needed (%s)", sysctlUsage)
	case c.all:
		return c.list(ctx)
	}
	settings := make([]sysctl.Setting, len(words)) // all are read before one is set
	for i, word := range words {
		if !strings.Contains(word, "=") {
			if v, known := sysctl.Lookup(word); known {
				settings[i].Name = v.Name
				continue
			}
		}
		s, err := sysctl.Parse(word)
		if err != nil {
			return err
		}
		settings[i] = s
	}
	for i, word := range words {
		var err error
		if strings.Contains(word, "=") {
			err = c.set(ctx, settings[i])
		} else {
			err = c.show(ctx, settings[i].Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *variables) set(ctx context.Context, s sysctl.Setting) error {
	old, err := sysctl.Apply(ctx, c.daemon, s)
	if err != nil {
		return err
	}
	if s.Name == "net.inet.carp.demotion" { // what is written is added
		c.kept = nil
		if s.Value, err = c.value(ctx, sysctl.Variable{Name: s.Name}); err != nil {
			return err
		}
	}
	if c.bare {
		return c.print("%d\n", s.Value)
	}
	return c.print("%s: %d -> %d\n", s.Name, old, s.Value) // as on OpenBSD
}

func (c *variables) show(ctx context.Context, name string) error {
	v, _ := sysctl.Lookup(name)
	if v.Opaque {
		all, err := c.daemon.Counters(ctx)
		if err != nil {
			return err
		}
		for _, counter := range all {
			if err := c.print("%s=%d\n", counter.Name, counter.Value); err != nil {
				return err
			}
		}
		return nil
	}
	value, err := c.value(ctx, v)
	if err != nil {
		return err
	}
	if c.bare {
		return c.print("%d\n", value)
	}
	return c.print("%v\n", sysctl.Setting{Name: name, Value: value})
}

// value reads a variable from where it is kept.
func (c *variables) value(ctx context.Context, v sysctl.Variable) (int64, error) {
	if v.Linux != "" {
		return v.ReadLinux()
	}
	if c.kept == nil {
		var err error
		if c.kept, err = c.daemon.Sysctls(ctx); err != nil {
			return 0, err
		}
	}
	for _, s := range c.kept {
		if s.Name == v.Name {
			return s.Value, nil
		}
	}
	return 0, fmt.Errorf("%s: pfsyncd does not know it; it is of another version", v.Name)
}

func (c *variables) list(ctx context.Context) error {
	var list []sysctl.Setting
	for _, v := range sysctl.Variables() {
		if v.Opaque {
			continue
		}
		value, err := c.value(ctx, v)
		if err != nil {
			return err
		}
		list = append(list, sysctl.Setting{Name: v.Name, Value: value})
	}
	if c.json {
		return printJSON(c.stdout, "sysctl", list)
	}
	for _, s := range list {
		format, args := "%v\n", []any{s}
		if c.bare {
			args = []any{s.Value}
		}
		if err := c.print(format, args...); err != nil {
			return err
		}
	}
	return nil
}

func (c *variables) print(format string, args ...any) error {
	_, err := fmt.Fprintf(c.stdout, format, args...)
	return err
}
