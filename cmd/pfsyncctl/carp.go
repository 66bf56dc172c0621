package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// demotion prints what demotes this firewall, or with -q lets the exit status tell whether a group
// is demoted by more than a number.
func demotion(c *cli.Context, d daemon, stdout io.Writer, alone cli.BeforeFunc) error {
	quiet, asJSON, number := c.Bool("q"), c.Bool("json"), 0
	switch {
	case quiet && asJSON:
		return errors.New("demotion: -q and --json exclude each other")
	case quiet && c.NArg() == 1:
		n, err := strconv.ParseUint(c.Args().First(), 10, 31)
		if err != nil {
			return fmt.Errorf("demotion: %s: not a number (%s)", ifconfig.Shown(c.Args().First()), usage)
		}
		number = int(n)
	default:
		if err := alone(c); err != nil {
			return err
		}
	}
	list, err := d.Demotion(c.Context)
	switch {
	case quiet && err != nil:
		return errSilent
	case err != nil:
		return err
	case !quiet:
		return printDemotion(stdout, list, asJSON)
	}
	if slices.ContainsFunc(list, func(d ifconfig.Demotion) bool { return d.Count > number }) {
		return errNotOK
	}
	return nil
}

// printDemotion prints each group with all that demotes it.
func printDemotion(w io.Writer, list []ifconfig.Demotion, asJSON bool) error {
	if asJSON {
		return printJSON(w, "demotion", list)
	}
	var b strings.Builder
	demoted := false
	for _, d := range list {
		demoted = demoted || d.Count > 0 || len(d.Shares) > 0
		fmt.Fprintf(&b, "%s: demotion %d\n", d.Group, d.Count)
		for _, s := range d.Shares {
			fmt.Fprintf(&b, "\t%d %s\n", s.Count, s.Reason)
		}
	}
	if !demoted {
		b.WriteString("nothing demotes this firewall\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// again is how long monitor waits for a daemon that is away.
const again = time.Second

// monitor prints transitions until ctx ends, over restarts of the daemon.
func monitor(ctx context.Context, d daemon, stdout, stderr io.Writer, asJSON bool) error {
	answer, err := d.Transitions(ctx, math.MaxUint64) // what has been is no news
	if err != nil {
		return err
	}
	began, last, away := answer.Began, answer.Last, false
	for {
		answer, err = d.Transitions(ctx, last)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil: // it ends, is gone, or starts
			if !away {
				fmt.Fprintf(stderr, "pfsyncctl: monitor: %v; waiting for pfsyncd\n", err)
			}
			away = true
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(again):
			}
			continue
		}
		away = false
		if !answer.Began.Equal(began) { // another daemon counts from 1 again
			began, last = answer.Began, 0
			continue
		}
		if answer.Lost > 0 {
			fmt.Fprintf(stderr, "pfsyncctl: %d changes of state were missed\n", answer.Lost)
		}
		for _, t := range answer.List {
			if err := printTransition(stdout, t, asJSON); err != nil {
				return err
			}
		}
		last = max(last, answer.Last)
	}
}

// printTransition prints one line, words first: interface, vhid, states; the reason is the rest.
func printTransition(w io.Writer, t ifconfig.Transition, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	_, err := fmt.Fprintf(w, "%s %s vhid %d %s -> %s (%s)\n", t.At.Format(time.RFC3339), t.Name, t.VHID, t.Old, t.New, t.Why)
	return err
}
