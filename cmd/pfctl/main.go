// Command pfctl shows and removes the states of this firewall, and loads the rules that
// say which of them pfsync does not share. It is OpenBSD's pfctl as far as Linux has what
// it controls. See pfctl(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	p := program{daemon: control.NewClient(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// daemon is what the program asks; control.Client.
type daemon interface {
	States(ctx context.Context, sel control.Selection, yield func(*pfstate.State) error) error
	Kill(ctx context.Context, k control.Kill) (control.Killed, error)
	Flush(ctx context.Context) (control.Killed, error)
	Rules(ctx context.Context) (control.Rules, error)
	SetRuleset(ctx context.Context, rs *pfconf.Ruleset) error
	Enable(ctx context.Context, on bool) error
	Info(ctx context.Context) (control.Info, error)
	Counters(ctx context.Context) ([]pfstate.Counter, error)
	Status(ctx context.Context) (control.Status, error)
}

// program is one run of pfctl.
type program struct {
	daemon         daemon
	stdin          io.Reader
	stdout, stderr io.Writer
	options
}

// run is the program; it returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	var err error
	if p.options, err = parse(args); err == nil {
		err = p.work(ctx)
	}
	if err == nil {
		return 0
	}
	if list, ok := errors.AsType[pfconf.Errors](err); ok { // a line each, as a compiler would
		fmt.Fprintln(p.stderr, list)
		fmt.Fprintln(p.stderr, "pfctl: Syntax error in config file: pf rules not loaded")
		return 1
	}
	fmt.Fprintf(p.stderr, "pfctl: %v\n", err)
	return 1
}

// work does what the options say, in OpenBSD's order.
func (p *program) work(ctx context.Context) error {
	if p.enable == no {
		if err := p.switchPf(ctx, false); err != nil {
			return err
		}
	}
	if p.show != "" {
		if err := p.shown(ctx); err != nil {
			return err
		}
	}
	if p.flush != "" {
		if err := p.flushed(ctx); err != nil {
			return err
		}
	}
	if len(p.kill) > 0 {
		if err := p.killed(ctx); err != nil {
			return err
		}
	}
	if p.file != "" {
		if err := p.loaded(ctx); err != nil {
			return err
		}
	}
	if p.enable == yes {
		return p.switchPf(ctx, true)
	}
	return nil
}

// say tells an operator what was done, unless he does not want to know.
func (p *program) say(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stderr, format+"\n", args...)
	}
}

func (p *program) switchPf(ctx context.Context, on bool) error {
	if p.dry {
		return nil
	}
	if err := p.daemon.Enable(ctx, on); err != nil {
		return err
	}
	p.say("pf %s", map[bool]string{true: "enabled", false: "disabled"}[on])
	return nil
}

func (p *program) flushed(ctx context.Context) error {
	if p.dry {
		return nil
	}
	if p.flush == "rules" || p.flush == "all" {
		if err := p.daemon.SetRuleset(ctx, &pfconf.Ruleset{}); err != nil {
			return err
		}
		p.say("rules cleared")
	}
	if p.flush == "rules" {
		return nil
	}
	var done control.Killed
	var err error
	if p.iface != "" {
		done, err = p.daemon.Kill(ctx, control.Kill{Interface: p.iface})
	} else {
		done, err = p.daemon.Flush(ctx)
	}
	if err != nil {
		return err
	}
	p.say("%d states cleared", done.States)
	return nil
}

func (p *program) killed(ctx context.Context) error {
	k, err := p.toKill(ctx)
	if err != nil || p.dry {
		return err
	}
	k.Interface = p.iface
	done, err := p.daemon.Kill(ctx, k)
	if err != nil {
		return err
	}
	if k.Src == nil {
		p.say("killed %d states", done.States)
	} else {
		p.say("killed %d states from %d sources and %d destinations", done.States, len(k.Src), len(k.Dst))
	}
	return nil
}

// loaded reads a pf.conf, or checks it.
func (p *program) loaded(ctx context.Context) error {
	name, text := p.file, []byte(nil)
	var err error
	if name == "-" {
		name = "stdin"
		text, err = io.ReadAll(p.stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return err
	}
	rs, notes, err := pfconf.Loader{ReadFile: os.ReadFile, Addresses: addresses}.Parse(name, string(text))
	for _, n := range notes {
		p.say("%v", n)
	}
	if err != nil {
		return err
	}
	if p.verbose > 0 {
		if _, err := io.WriteString(p.stdout, rs.String()); err != nil {
			return err
		}
	}
	if p.dry {
		return nil
	}
	info, err := p.daemon.Info(ctx)
	if err != nil {
		return err
	}
	if rs.HostID != 0 && rs.HostID != uint32(info.Creator) {
		p.say("%s: note: 'set hostid' has no effect while pfsyncd runs; start it with --hostid 0x%08x", name, rs.HostID)
	}
	if rs.MaxStates != 0 && int(rs.MaxStates) != info.Limit {
		p.say("%s: note: 'set limit states' has no effect on Linux; use sysctl net.netfilter.nf_conntrack_max=%d", name, rs.MaxStates)
	}
	return p.daemon.SetRuleset(ctx, rs)
}

// addresses are those of an interface, each with its network.
func addresses(name string) (list []netip.Prefix) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	all, err := i.Addrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p)
		}
	}
	return list
}
