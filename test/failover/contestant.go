package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// contestant is a daemon that holds lab.SharedInside on the better firewall.
type contestant struct {
	name  string
	start func(ctx context.Context, f *lab.Firewall, dir string, better bool) error
	kill  func(f *lab.Firewall, dir string) error // kill -9 of all its processes
}

// contestants advertise once a second but the last, which does 26 times.
func contestants() []contestant {
	return []contestant{
		{"pfsyncd", carp("1", "0", "100"), killOne},
		{"ucarp", startUcarp, killOne},
		{"keepalived", startKeepalived, killKeepalived},
		{"pfsyncd, advbase 0", carp("0", "10", "20"), killOne},
	}
}

func killOne(f *lab.Firewall, _ string) error { return f.KillDaemon() }

// killKeepalived kills the process that advertises first: it would say good-bye when
// its parent dies.
func killKeepalived(f *lab.Firewall, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "vrrp.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return f.KillDaemon()
}

// carp starts pfsyncd with one carp interface.
func carp(advbase, better, worse string) func(context.Context, *lab.Firewall, string, bool) error {
	return func(ctx context.Context, f *lab.Firewall, _ string, isBetter bool) error {
		if err := f.StartDaemon(); err != nil {
			return err
		}
		if err := f.WaitReady(ctx); err != nil {
			return err
		}
		advskew := worse
		if isBetter {
			advskew = better
		}
		_, err := f.Ifconfig(ctx, "carp1", "inet", lab.SharedInside+"/24", "vhid", "2", "pass", "bar",
			"carpdev", lab.Inside, "advbase", advbase, "advskew", advskew)
		return err
	}
}

func startUcarp(_ context.Context, f *lab.Firewall, dir string, better bool) error {
	up, down := filepath.Join(dir, "up"), filepath.Join(dir, "down")
	for name, verb := range map[string]string{up: "add", down: "del"} {
		text := "#!/bin/sh\nexec ip address " + verb + " " + lab.SharedInside + "/24 dev " + lab.Inside + "\n"
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	own, skew := "192.168.0.253", "100"
	if better {
		own, skew = "192.168.0.254", "0"
	}
	return f.StartOther(exec.Command("ucarp", "-i", lab.Inside, "-s", own, "-v", "2", "-p", "bar", "-a", lab.SharedInside,
		"-b", "1", "-k", skew, "-P", "-u", up, "-d", down, "-z"))
}

func startKeepalived(_ context.Context, f *lab.Firewall, dir string, better bool) error {
	priority := 100
	if better {
		priority = 150
	}
	text := fmt.Sprintf(`vrrp_instance inside {
	state BACKUP
	interface %s
	virtual_router_id 2
	priority %d
	advert_int 1
	virtual_ipaddress {
		%s/24
	}
}
`, lab.Inside, priority, lab.SharedInside)
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return f.StartOther(exec.Command("keepalived", "-n", "-l", "-D", "-P", "-f", file,
		"-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid")))
}

// pair is both firewalls with a contestant on each, A being the master.
type pair struct {
	lab   *lab.Lab
	probe *probe
}

func newPair(ctx context.Context, bin string, k contestant) (p *pair, err error) {
	l, err := lab.New(ctx, lab.Config{Prefix: namePrefix, Bin: bin, Bare: true})
	if err != nil {
		return nil, err
	}
	p = &pair{lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	for _, f := range []struct {
		*lab.Firewall
		letter, addr string
		better       bool
	}{{l.A, "fwA", "192.168.0.254", true}, {l.B, "fwB", "192.168.0.253", false}} {
		dir := p.dir(f.letter)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		for _, words := range [][]string{
			{"ip", "address", "add", f.addr + "/24", "dev", lab.Inside},
			{"nft", "insert", "rule", "inet", "filter", "input", "udp", "dport", fmt.Sprint(probePort), "accept"},
			{"nft", "insert", "rule", "inet", "filter", "input", "ip", "protocol", "112", "accept"},
		} {
			if _, err := f.Run(ctx, words[0], words[1:]...); err != nil {
				return nil, err
			}
		}
		if err := k.start(ctx, f.Firewall, dir, f.better); err != nil {
			return nil, err
		}
	}
	if p.probe, err = startProbe(l); err != nil {
		return nil, err
	}
	err = lab.Eventually(ctx, "A answers, and B only listens", func() error {
		if who, when := p.probe.last(); who != "A" || time.Since(when) > time.Second {
			return fmt.Errorf("%q answered last; logs:\n%s\n%s", who, tail(l.A.Log()), tail(l.B.Log()))
		}
		return p.probe.only("A", 3*time.Second)
	})
	return p, err
}

// dir is where a contestant on a firewall keeps its files.
func (p *pair) dir(firewall string) string { return filepath.Join(p.lab.Dir, "contest-"+firewall) }

func (p *pair) close() error {
	if p.probe != nil {
		p.probe.stop()
	}
	return p.lab.Close()
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
