// Command bench compares pfsyncd with conntrackd: two firewalls, one of the daemons on
// both, the same load, in turns in one run. `make bench` runs it; README.md tells what is
// measured, and how to have the referee measure the same.
//
// The benchmarks in its tests measure the daemon's parts together, on the real
// kernel; `make gobench` runs these and those of the packages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// namePrefix begins the names of the benchmark's namespaces.
const namePrefix = "pfs-bn"

type config struct {
	bin      string
	plan     string
	with     []string
	only     []string // of scenarios; empty: all
	reps     int      // 0: as the plan has it
	limit    time.Duration
	json     string
	profiles string // folder for profiles; "": none are made
	asFound  bool   // leave the machine's limits as they are; for tests of few states
	out      io.Writer
}

func main() {
	c := config{out: os.Stdout}
	flag.StringVar(&c.bin, "bin", "bin", "`folder` with pfsyncd, ifconfig, pfctl and pfsyncctl")
	flag.StringVar(&c.plan, "plan", "short", "`plan`: short (at most 6 minutes), full, scale or defer")
	with := flag.String("with", "", "contestants, separated by commas: pfsyncd, pfsyncd/..., conntrackd/MODE; ratios are to the first (default "+baseline+",pfsyncd; of plan defer: pfsyncd,pfsyncd/defer)")
	only := flag.String("only", "", "only scenarios whose names contain one of these, separated by commas")
	flag.IntVar(&c.reps, "reps", 0, "repetitions of each scenario instead of the plan's")
	flag.DurationVar(&c.limit, "limit", 0, "leave out what does not fit into this time (default 6m, 60m, 30m, 4m for the plans)")
	flag.StringVar(&c.json, "json", "", "`file` for all that was measured")
	flag.StringVar(&c.profiles, "profiles", "", "write profiles of pfsyncd into this `folder`; figures are not to be trusted then")
	show := flag.String("show", "", "show the tables of this `file`, which -json has written, and exit")
	list := flag.Bool("list", false, "show the plan's scenarios and exit")
	flag.Parse()
	if *with == "" {
		*with = map[bool]string{false: baseline + ",pfsyncd", true: "pfsyncd,pfsyncd/defer"}[c.plan == "defer"]
	}
	c.with, c.only = words(*with), words(*only)
	if c.profiles != "" {
		c.with = []string{"pfsyncd"}
	}
	scenarios, err := plan(c.plan)
	if err == nil && (flag.NArg() > 0 || c.reps < 0) {
		flag.Usage()
		os.Exit(1)
	}
	if err == nil && *list {
		for _, s := range scenarios {
			fmt.Fprintf(c.out, "%s, %d times\n", s.name, s.reps)
		}
		return
	}
	if err == nil && *show != "" {
		if err := showFile(c.out, *show); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err == nil {
		err = run(ctx, c, scenarios)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted; everything it made is removed")
		os.Exit(130) // as a shell reports SIGINT
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func words(s string) (list []string) {
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			list = append(list, w)
		}
	}
	return list
}

// run measures scenario after scenario, the contestants in turns in each, and shows each
// one's table when it is done. What could not be measured is in the tables; the error is
// of what ended the run as a whole.
func run(ctx context.Context, c config, scenarios []scenario) (err error) {
	all, err := contestants(c.with, c.profiles != "" || c.plan == "scale")
	if err != nil {
		return err
	}
	if err := errors.Join(lab.RequireRoot(), lab.Require(append([]string{"ip", "nft", "conntrack"}, programs(all)...)...), lab.RemoveStale(namePrefix)); err != nil {
		return err
	}
	a, err := newArena(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	r := &report{Plan: c.plan, Started: time.Now().UTC().Format(time.RFC3339), Machine: machine(ctx), Baseline: all[0].name}
	for _, k := range all {
		r.Contestants = append(r.Contestants, k.name)
	}
	r.printHead(c.out)
	err = r.measure(ctx, c, a, scenarios, all)
	r.Seconds = time.Since(a.began).Seconds()
	r.printEnd(c.out)
	if c.json != "" {
		err = errors.Join(err, r.write(c.json))
	}
	return err
}

// measure fills the report.
func (r *report) measure(ctx context.Context, c config, a *arena, scenarios []scenario, all []contestant) error {
	limit := c.limit
	if limit == 0 {
		limit = limits[c.plan]
	}
	measured := 0
	for _, s := range scenarios {
		if !s.wanted(c.only) {
			continue
		}
		measured++
		reps := s.reps
		if c.reps > 0 {
			reps = c.reps
		}
		rivals := all
		if s.alone {
			rivals, reps = []contestant{{name: machineItself}}, 1
		}
		for rep := range reps {
			for i := range rivals {
				k := rivals[(i+rep)%len(rivals)] // each repetition begins with another
				t := trial{Scenario: s.name, Contestant: k.name, Rep: rep + 1}
				if time.Since(a.began)+s.cost > limit {
					t.Skipped = "out of time"
				} else if err := a.try(ctx, s, k, &t); err != nil {
					return err
				}
				r.Trials = append(r.Trials, t)
				t.print(os.Stderr)
			}
		}
		r.printScenario(c.out, s.name)
	}
	if measured == 0 {
		return fmt.Errorf("no scenario of plan %s is called like %s; -list shows them", c.plan, strings.Join(c.only, " or "))
	}
	return nil
}
