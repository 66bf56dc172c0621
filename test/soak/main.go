// Command soak is the proof that two firewalls are never out of sync for long: under
// continuous churn of real flows the sync link fails, daemons die and tables drift, in
// random order, and after each fault both kernel tables are compared entry by entry.
// `make soak` runs it.
//
// It exits 0 only if after each fault the tables were the same within 10 seconds,
// and no flow failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// namePrefix begins the names of the soak's namespaces.
const namePrefix = "pfs-soak"

func main() {
	// Until the first entries of the churn have ended, less is said than normal.
	c := config{out: os.Stdout, warmUp: 16 * time.Second}
	flag.StringVar(&c.bin, "bin", "bin", "folder with pfsyncd, ifconfig and pfsyncctl")
	flag.DurationVar(&c.length, "for", 2*time.Minute, "how long; each fault comes once at least")
	flag.Uint64Var(&c.seed, "seed", uint64(time.Now().UnixNano()), "of the dice: the order of the faults, what is lost, the flows")
	flag.IntVar(&c.rate, "rate", 200, "new flows a second")
	flag.IntVar(&c.states, "states", 2000, "idle states beside them")
	flag.StringVar(&c.peer, "peer", "pfsyncd", "the daemons: pfsyncd or conntrackd")
	flag.StringVar(&c.only, "only", "", "only the faults whose names contain this")
	file := flag.String("json", "", "file for the result as JSON")
	flag.Parse()
	if flag.NArg() > 0 || c.rate < 1 || c.states < 0 {
		flag.Usage()
		os.Exit(1)
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := lab.RemoveStale(namePrefix)
	var r *result
	if err == nil {
		r, err = run(ctx, c)
	}
	if r != nil {
		r.print(c.out)
		if *file != "" {
			err = errors.Join(err, r.writeJSON(*file))
		}
		err = errors.Join(err, r.verdict())
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "soak: interrupted; everything it made is removed")
		os.Exit(130) // as a shell reports SIGINT
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}
