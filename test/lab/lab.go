package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// Config says how a lab is built.
type Config struct {
	Prefix string // of its namespaces' names: PREFIX-PID-fwA; at most a few letters
	Bin    string // the folder with pfsyncd, ifconfig, ...; "" for a lab without daemons

	Cable bool   // put a Cable between the two sis2, to be disturbed
	Seed  uint64 // of the Cable's dice

	Third bool // a third firewall, C; the sync link is a switch then, and there is no Cable

	// Bare firewalls have no addresses: they are to find them in their /etc (Etc), and
	// who has the shared ones is their own affair.
	Bare bool
}

// Lab is two firewalls between a client and a server:
//
//	client ── inside ──┬── sis1 fwA sis0 ──┬── outside ── server
//	                   │        sis2       │
//	                   │          │        │
//	                   │        sis2       │
//	                   └── sis1 fwB sis0 ──┘
//
// inside and outside are switches in namespaces of their own. The shared addresses
// are on A at first. A third firewall is connected like the two.
type Lab struct {
	Client, Server *NS
	A, B           *Firewall
	C              *Firewall // nil unless Config asked for it
	Cable          *Cable    // between the two sis2; nil unless Config asked for it
	Dir            string    // state and logs of the daemons; Close removes it

	config                Config
	prefix                string
	inside, outside, sync *NS // sync is the Cable's, or a switch
}

// New builds a lab. Close removes it; after an error nothing is left.
func New(ctx context.Context, c Config) (*Lab, error) {
	if err := errors.Join(RequireRoot(), Require("ip", "nft", "conntrack")); err != nil {
		return nil, err
	}
	prefix := uniquePrefix(c.Prefix)
	dir, err := os.MkdirTemp("", prefix+"-")
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, config: c, prefix: prefix}
	l.A = &Firewall{port: "fwA", lab: l, bin: c.Bin, dir: filepath.Join(dir, "fwA")}
	l.B = &Firewall{port: "fwB", lab: l, bin: c.Bin, dir: filepath.Join(dir, "fwB")}
	if c.Third {
		l.C = &Firewall{port: "fwC", lab: l, bin: c.Bin, dir: filepath.Join(dir, "fwC")}
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context) error {
	if err := l.build(); err != nil {
		return err
	}
	file := filepath.Join(l.Dir, "firewall.nft")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		return err
	}
	for _, f := range l.Firewalls() {
		if err := f.setUp(ctx, file); err != nil {
			return err
		}
		if err := l.waitLinks(ctx, f); err != nil {
			return err
		}
	}
	if l.config.Bare {
		return nil
	}
	return l.MoveTo(l.A)
}

// Close ends the daemons and removes the namespaces and Dir. What the caller runs
// in them should have ended. It may be called again.
func (l *Lab) Close() error {
	var errs []error
	for _, f := range l.Firewalls() {
		if f.Running() {
			errs = append(errs, f.KillDaemon())
		}
	}
	if l.Cable != nil {
		l.Cable.close()
		l.Cable = nil
	}
	all := []**NS{&l.Client, &l.Server, &l.inside, &l.outside, &l.sync}
	for _, f := range l.Firewalls() {
		all = append(all, &f.NS)
	}
	for _, n := range all {
		if *n != nil {
			errs = append(errs, (*n).Close())
			*n = nil
		}
	}
	errs = append(errs, os.RemoveAll(l.Dir))
	return errors.Join(errs...)
}

// Firewalls are all there are, in their order.
func (l *Lab) Firewalls() []*Firewall {
	if l.C == nil {
		return []*Firewall{l.A, l.B}
	}
	return []*Firewall{l.A, l.B, l.C}
}

// MoveTo puts the shared addresses on f and announces them to both LANs. The others
// lose them, unless they are cut off: then they keep them, as a dead box does.
func (l *Lab) MoveTo(f *Firewall) error {
	for _, other := range l.Firewalls() {
		if other == f || other.cut {
			continue
		}
		if err := other.delShared(); err != nil {
			return err
		}
	}
	if err := f.addShared(); err != nil {
		return err
	}
	return f.announce()
}

// Cut pulls all cables of f at once.
func (l *Lab) Cut(f *Firewall) error {
	f.cut = true
	return inParallel(
		func() error { return l.outside.linkDown(f.port) },
		func() error { return l.inside.linkDown(f.port) },
		func() error { return f.linkDown(Sync) },
	)
}

// Reconnect plugs the cables of f in again. It comes back as the backup: without
// the shared addresses, unless it is bare, and with all links carrying when Reconnect returns.
func (l *Lab) Reconnect(ctx context.Context, f *Firewall) error {
	if !l.config.Bare {
		if err := f.delShared(); err != nil {
			return err
		}
	}
	f.cut = false
	err := errors.Join(f.linkUp(Sync), l.outside.linkUp(f.port), l.inside.linkUp(f.port))
	if err != nil {
		return err
	}
	return l.waitLinks(ctx, f)
}

// waitLinks waits for the carrier on all cables of f, at both ends: the kernel
// reports it some time after the link was set up, and until then a switch's port
// drops what it gets.
func (l *Lab) waitLinks(ctx context.Context, f *Firewall) error {
	for _, end := range []struct {
		ns   *NS
		link string
	}{
		{l.outside, f.port}, {l.inside, f.port}, {f.NS, Outside}, {f.NS, Inside}, {f.NS, Sync},
	} {
		if err := end.ns.waitCarrier(ctx, end.link); err != nil {
			return err
		}
	}
	return nil
}

// Kill is the sudden death of f: kill -9 of its daemon, if there is one, and its
// cables cut in the same moment.
func (l *Lab) Kill(f *Firewall) error {
	return inParallel(
		func() error {
			if !f.Running() {
				return nil
			}
			return f.KillDaemon()
		},
		func() error { return l.Cut(f) },
	)
}

func (l *Lab) other(f *Firewall) *Firewall {
	if f == l.A {
		return l.B
	}
	return l.A
}

// Eventually calls cond until it returns nil. When ctx ends first, the error says
// what was waited for, why ctx ended and what cond said last.
func Eventually(ctx context.Context, what string, cond func() error) error {
	const pause = 20 * time.Millisecond // far below what a person or a test notices
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}

// inParallel runs all fs at the same time and waits for them.
func inParallel(fs ...func() error) error {
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// uniquePrefix makes a prefix that no other living lab has: its process, and a
// number for the labs of one process.
func uniquePrefix(prefix string) string {
	for i := 0; ; i++ {
		p := fmt.Sprintf("%s-%d", prefix, os.Getpid())
		if i > 0 {
			p = fmt.Sprintf("%s.%d", p, i)
		}
		if _, err := os.Stat(filepath.Join(netnsDir, p+"-client")); errors.Is(err, os.ErrNotExist) {
			return p
		}
	}
}

// netnsDir holds the named namespaces, as `ip netns` has them.
const netnsDir = "/run/netns"

// RemoveStale removes the namespaces and folders that labs with this prefix left
// behind when their process was killed.
func RemoveStale(prefix string) error {
	return errors.Join(
		eachStale(netnsDir, prefix, netns.DeleteNamed),
		eachStale(os.TempDir(), prefix, func(name string) error {
			return os.RemoveAll(filepath.Join(os.TempDir(), name))
		}),
	)
}

// eachStale calls remove with the names in dir that belong to labs of dead processes.
func eachStale(dir, prefix string, remove func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(prefix) + `-(\d+)(?:\.\d+)?-`)
	for _, e := range entries {
		m := ours.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil || pid == os.Getpid() || syscall.Kill(pid, 0) == nil {
			continue
		}
		if err := remove(e.Name()); err != nil {
			return fmt.Errorf("%s, left behind: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	return nil
}
