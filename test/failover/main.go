// Command failover measures how long an address that two firewalls share is gone when
// the daemon of its master dies: from kill -9 to the first answer of the other firewall.
// pfsyncd's carp, ucarp and keepalived take turns in one run. `make failover` runs it.
//
// With -load it watches instead, under full load on all cores, that nobody takes over
// from a master that lives; it exits 0 only if nobody did.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

const namePrefix = "pfs-fo"

type config struct {
	bin    string
	rounds int
	load   time.Duration
	only   string
	out    io.Writer
}

func main() {
	c := config{out: os.Stdout}
	flag.StringVar(&c.bin, "bin", "bin", "folder with pfsyncd and ifconfig")
	flag.IntVar(&c.rounds, "rounds", 20, "deaths of each contestant")
	flag.DurationVar(&c.load, "load", 0, "watch for false takeovers under load for this long, instead of measuring")
	flag.StringVar(&c.only, "only", "", "only the contestants whose names contain this")
	file := flag.String("json", "", "file for the result as JSON")
	flag.Parse()
	if flag.NArg() > 0 || c.rounds < 1 {
		flag.Usage()
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx, c, *file); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config, file string) error {
	if err := errors.Join(lab.RequireRoot(), lab.Require("ip", "nft", "ucarp", "keepalived"), lab.RemoveStale(namePrefix)); err != nil {
		return err
	}
	all := slices.DeleteFunc(contestants(), func(k contestant) bool { return !strings.Contains(k.name, c.only) })
	if c.load > 0 {
		return underLoad(ctx, c, all)
	}
	results := make([]result, len(all))
	for round := range c.rounds {
		for i, k := range all {
			d, err := k.die(ctx, c.bin)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", k.name, round+1, err)
			}
			results[i].Name = k.name
			results[i].Seconds = append(results[i].Seconds, d.Seconds())
			fmt.Fprintf(os.Stderr, "round %d of %d: %s %.3f s\n", round+1, c.rounds, k.name, d.Seconds())
		}
	}
	print(c.out, results)
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// result is what one contestant took, in the order of the rounds.
type result struct {
	Name    string    `json:"name"`
	Seconds []float64 `json:"seconds"`
}

func print(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "daemon\trounds\tmedian\tworst")
	for _, r := range results {
		s := slices.Sorted(slices.Values(r.Seconds))
		fmt.Fprintf(t, "%s\t%d\t%.2f s\t%.2f s\n", r.Name, len(s), s[len(s)/2], s[len(s)-1])
	}
	t.Flush()
}

// die kills the master's daemon once, at a random moment, in a lab of its own.
func (k contestant) die(ctx context.Context, bin string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p, err := newPair(ctx, bin, k)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	select {
	case <-time.After(time.Second + time.Duration(rand.Int64N(int64(time.Second)))):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if who, _ := p.probe.last(); who != "A" {
		return 0, fmt.Errorf("%q answers before the death, not A", who)
	}
	died := time.Now()
	if err := k.kill(p.lab.A, p.dir("fwA")); err != nil {
		return 0, err
	}
	return p.probe.firstOf(ctx, "B", died)
}
