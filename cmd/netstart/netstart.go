package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
	"github.com/pfsync-linux/pfsync/ifconfig/rcconf"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// netstart is one run of the program.
type netstart struct {
	stdout, stderr io.Writer
	daemon         *control.Client
	dry            bool   // -n: print what would be done
	secrets        bool   // and passwords too
	dir            string // where the files are
	rc             string // -f
	status         int

	whole bool      // all is configured: carp is kept from taking over meanwhile
	held  time.Time // when that was asked for last; zero: not at all

	leased, routed bool // a family is configured by DHCP, by routers' advertisements
}

// fail reports an error, or those that are joined in it; the other interfaces are still configured.
func (n *netstart) fail(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		n.say("%s", line)
	}
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

func (n *netstart) warn(text string) { fmt.Fprintln(n.stderr, text) }

func (n *netstart) run(ctx context.Context, names []string) {
	for _, name := range names {
		if strings.HasPrefix(name, "-") { // before anything is done: it may have been meant as -n
			n.fail(fmt.Errorf("%s: options stand before the interfaces (%s)", ifconfig.Shown(name), usage))
			return
		}
	}
	switch root := os.Geteuid() == 0; {
	case !root && !n.dry:
		n.fail(errors.New("need root privileges"))
	case !root && n.secrets:
		n.fail(errors.New("--show-secrets: need root privileges"))
	case n.rc != "":
		n.whole = len(names) == 0
		n.freebsd(ctx, names)
		n.release(ctx)
	case len(names) == 0:
		n.whole = true
		n.all(ctx)
		n.release(ctx)
	default:
		for _, name := range names {
			n.start(ctx, name)
		}
	}
}

// all does what OpenBSD does at boot, with what its sysctl.conf says before, and with pfsync0 last.
func (n *netstart) all(ctx context.Context) {
	names, err := hostname.Names(n.dir)
	if err != nil {
		n.fail(err)
		return
	}
	if len(names) == 0 {
		n.say("%s: no hostname.if files", n.dir)
	}
	n.sysctls(ctx)
	before, after := hostname.Order(names)
	for _, name := range before {
		n.start(ctx, name)
	}
	n.gateways(ctx)
	for _, name := range after {
		n.start(ctx, name)
	}
}

// sysctls sets the variables that the system's files have for us.
func (n *netstart) sysctls(ctx context.Context) {
	lines, err := sysctl.Load(os.DirFS(n.dir), n.dir)
	if err != nil {
		n.fail(err)
	}
	var steps []plan.Step
	for _, l := range sysctl.Last(lines) {
		steps = append(steps, plan.Step{Place: plan.Place{File: l.File, Line: l.Line}, Do: plan.Sysctl, Setting: l.Setting})
	}
	n.carry(ctx, steps)
}

// gateways sets the default routes of the families that have no other source of them.
func (n *netstart) gateways(ctx context.Context) {
	f, _, err := hostname.OpenPublic(n.dir + "/mygate")
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		n.fail(err)
		return
	}
	defer f.Close()
	steps, err := hostname.ParseGateways(f, f.Name())
	if err != nil {
		n.fail(err)
	}
	steps = slices.DeleteFunc(steps, func(s plan.Step) bool {
		return n.leased && s.Gateway.Is4() || n.routed && s.Gateway.Is6()
	})
	n.carry(ctx, steps)
}

// start configures one interface from its file: all of it or, if a line is wrong, nothing.
func (n *netstart) start(ctx context.Context, name string) {
	if name == "" || strings.Contains(name, "/") {
		n.fail(fmt.Errorf("%s: no name of an interface", ifconfig.Shown(name)))
		return
	}
	path := hostname.Path(n.dir, name)
	f, err := hostname.Open(path, !n.dry, n.warn)
	if err != nil {
		n.fail(err)
		return
	}
	defer f.Close()
	iface, err := n.resolve(name)
	if err != nil {
		n.fail(fmt.Errorf("%s: %w", path, err))
		return
	}
	if iface == "" {
		return
	}
	steps, err := hostname.Parse(f, iface, path)
	if err != nil {
		n.fail(err)
		return
	}
	n.carry(ctx, steps)
}

// resolve finds the interface of a file: that of its name, lo for lo0 and the like, or
// the one that has the MAC address. "": it has a file of its own name.
func (n *netstart) resolve(name string) (string, error) {
	if driver := strings.TrimRight(name, "0123456789"); driver == "lo" && !exists(name) {
		return "lo", nil
	}
	mac, err := net.ParseMAC(name)
	if err != nil || exists(name) {
		return name, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	var found []string
	for _, i := range all {
		if slices.Equal(i.HardwareAddr, mac) {
			found = append(found, i.Name)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d interfaces have this address", len(found))
	}
	if own := hostname.Path(n.dir, found[0]); fileExists(own) {
		n.say("%s: left alone, there is %s", hostname.Path(n.dir, name), own)
		return "", nil
	}
	return found[0], nil
}

func exists(iface string) bool {
	_, err := net.InterfaceByName(iface)
	return err == nil
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// dialect lets FreeBSD's rules of demotion hold where carp is configured by an rc.conf, as long as no
// sysctl.conf, which comes after it, says otherwise.
func (n *netstart) dialect(ctx context.Context, steps []plan.Step) {
	at := slices.IndexFunc(steps, func(s plan.Step) bool { return s.Has("vhid") })
	if at >= 0 {
		n.carry(ctx, []plan.Step{{Place: steps[at].Place, Do: plan.Sysctl, Setting: sysctl.Setting{Name: "net.inet.carp.dialect", Value: 1}}})
	}
}

// maxRC bounds an rc.conf in bytes.
const maxRC = 1 << 20

// freebsd does what an rc.conf says, for these interfaces only if there are any. What is wrong in one
// of its variables does not keep the others from being carried out, as each is a command of its own.
func (n *netstart) freebsd(ctx context.Context, names []string) {
	vars, private := rcconf.Vars{}, true
	for _, path := range []string{n.rc, n.rc + ".local"} { // as FreeBSD's, the later one wins
		f, closed, err := hostname.OpenPublic(path)
		if errors.Is(err, os.ErrNotExist) && path != n.rc {
			continue
		}
		if err != nil {
			n.fail(err)
			return
		}
		text, err := io.ReadAll(io.LimitReader(f, maxRC))
		f.Close()
		if err == nil {
			err = vars.Parse(path, string(text))
		}
		if err != nil {
			n.fail(err)
			n.fail(fmt.Errorf("%s: nothing of it is carried out", path))
			return
		}
		private = private && closed
	}
	steps, notes, err := vars.Plan()
	for _, note := range notes {
		n.say("%s", note)
	}
	if err != nil {
		n.fail(err)
	}
	if !private && slices.ContainsFunc(steps, func(s plan.Step) bool { return s.Has("pass") }) {
		n.warn("WARNING: " + n.rc + " is insecure: others can read the passwords in it (chmod 640)")
	}
	for _, name := range names {
		if !slices.ContainsFunc(steps, func(s plan.Step) bool { return s.Interface == name }) {
			n.fail(fmt.Errorf("%s: nothing in %s is about it", ifconfig.Shown(name), n.rc))
		}
	}
	if len(names) == 0 {
		n.dialect(ctx, steps)
		n.sysctls(ctx)
	}
	twice := map[string]bool{}
	for _, s := range steps {
		if len(names) > 0 && !slices.Contains(names, s.Interface) {
			continue
		}
		if own := hostname.Path(n.dir, s.Interface); s.Interface != "" && fileExists(own) {
			if !twice[s.Interface] {
				n.fail(fmt.Errorf("both %s and %s configure %s; remove one", own, n.rc, s.Interface))
			}
			twice[s.Interface] = true
			continue
		}
		if s.Interface == pfsync0 && !s.Has("create") && !n.dry {
			n.print("Enabling pfsync.")
		}
		n.carry(ctx, []plan.Step{s})
	}
}
