package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/rival"
	"github.com/pfsync-linux/pfsync/test/lab/rush"
)

// arena is the two firewalls and what loads them.
type arena struct {
	config
	lab     *lab.Lab
	a, b    *rush.Table
	packets *rush.Packets
	restore map[string]string // sysctls of the whole machine, as they were
	began   time.Time

	profiling *profiling // of this trial; nil: none
}

// raised are limits of the whole machine that must not be lower.
var raised = map[string]int{
	"net/netfilter/nf_conntrack_max":     4 << 20,
	"net/netfilter/nf_conntrack_buckets": 1 << 20,
	"net/core/rmem_max":                  64 << 20, // conntrackd's sockets ask without force
	"net/core/wmem_max":                  64 << 20,
}

func newArena(ctx context.Context, c config) (a *arena, err error) {
	a = &arena{config: c, restore: map[string]string{}, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.lab, err = lab.New(ctx, lab.Config{Prefix: namePrefix, Bin: c.bin}); err != nil {
		return a, err
	}
	if err := a.raise(); err != nil {
		return a, err
	}
	for _, f := range []*lab.Firewall{a.lab.A, a.lab.B} {
		err := errors.Join(
			f.Sysctl("net/netfilter/nf_conntrack_timestamp", "1"), // the kernels note when an entry was made
			f.Sysctl("net/netfilter/nf_conntrack_events", "1"),
			rival.Prepare(ctx, f),
		)
		if err != nil {
			return a, err
		}
		if _, err := f.Run(ctx, "ip", "link", "set", lab.Sync, "txqueuelen", "10000"); err != nil {
			return a, err
		}
	}
	if a.a, err = rush.Open(a.lab.A.NS); err != nil {
		return a, err
	}
	if a.b, err = rush.Open(a.lab.B.NS); err != nil {
		return a, err
	}
	a.packets, err = rush.NewPackets(ctx, a.lab, a.lab.A)
	return a, err
}

// raise raises what is lower. It is for behind the lab, whose rules load the module that
// has some of the limits.
func (a *arena) raise() error {
	if a.asFound {
		return nil
	}
	for name, least := range raised {
		old, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(old))
		if n, err := strconv.Atoi(text); err != nil || n >= least {
			continue
		}
		if err := os.WriteFile("/proc/sys/"+name, []byte(strconv.Itoa(least)), 0o644); err != nil {
			return err
		}
		a.restore[name] = text
	}
	return nil
}

func (a *arena) close() error {
	var errs []error
	if a.packets != nil {
		errs = append(errs, a.packets.Close())
	}
	for _, t := range []*rush.Table{a.a, a.b} {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	if a.lab != nil {
		errs = append(errs, a.lab.Close())
	}
	for name, old := range a.restore {
		now, err := os.ReadFile("/proc/sys/" + name)
		if err == nil && strings.TrimSpace(string(now)) == strconv.Itoa(raised[name]) { // else it is somebody else's by now
			errs = append(errs, os.WriteFile("/proc/sys/"+name, []byte(old), 0o644))
		}
	}
	return errors.Join(errs...)
}

// begins is how long a daemon may take to start and to stop.
const begins = 30 * time.Second

// try runs one scenario for one contestant, with empty tables and no daemons before and
// after. The error is only of what makes going on useless.
func (a *arena) try(ctx context.Context, s scenario, k contestant, t *trial) error {
	if err := errors.Join(a.stop(ctx), fresh(a.lab.A), fresh(a.lab.B), a.a.Flush(), a.b.Flush()); err != nil {
		return err
	}
	debug.FreeOSMemory() // the garbage of earlier comparisons is not collected amid this one
	t.Figures, t.Examples = map[string]float64{}, map[string]string{}
	start, before, own := time.Now(), busy(), processor(os.Getpid())
	p := &pair{arena: a, contestant: k, trial: t}
	err := s.run(ctx, p)
	t.Seconds = time.Since(start).Seconds()
	strange := busy() - before - (processor(os.Getpid()) - own) - p.spent()
	if share := strange / t.Seconds; share > foreign {
		t.doubt("other programs, or the hypervisor, kept %.1f processors busy meanwhile", share)
	}
	if err != nil {
		t.Error = err.Error()
	}
	if err := a.profiled(); err != nil {
		t.doubt("%v", err)
	}
	p.health(ctx)
	if err := a.stop(ctx); err != nil {
		t.doubt("%v", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// foreign is how many processors may be busy with something else than the daemons and this
// program: the kernel's own work is not told apart from it.
const foreign = 0.4

// stop ends the daemons that run.
func (a *arena) stop(ctx context.Context) error {
	var errs []error
	for _, f := range []*lab.Firewall{a.lab.A, a.lab.B} {
		if f.Running() {
			errs = append(errs, a.stopOne(context.WithoutCancel(ctx), f))
		}
	}
	return errors.Join(errs...)
}

func (a *arena) stopOne(ctx context.Context, f *lab.Firewall) error {
	ctx, cancel := context.WithTimeout(ctx, begins)
	defer cancel()
	err := f.StopDaemon(ctx)
	if err != nil && f.Running() {
		return errors.Join(err, f.KillDaemon())
	}
	if err != nil {
		return fmt.Errorf("the daemon did not end well: %w", err)
	}
	return nil
}
