package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing/fstest"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// pair is two firewalls that have nothing but the files of pfsync(4) in their /etc. Which of
// them has the shared addresses is carp's affair.
type pair struct {
	*lab.Lab
	s      *story
	pfsync bool
}

// boot does at a start what the units do, and shows it.
func (p *pair) boot(ctx context.Context, f *lab.Firewall) error {
	if err := f.StartDaemon(); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	if err := f.WaitReady(ready); err != nil {
		return err
	}
	for _, words := range [][]string{{"pfctl", "-f", "/etc/pf.conf"}, {"netstart"}} {
		if _, err := f.RunWithEtc(ctx, words[0], words[1:]...); err != nil {
			return err
		}
	}
	p.s.typed(host(p.Lab, f), "pfsyncd & pfctl -f /etc/pf.conf; netstart", "")
	return nil
}

// files are a firewall's: those of the folder, for the run without pfsync without its own.
func (p *pair) files(folder string) (fstest.MapFS, error) {
	names, err := fs.Glob(os.DirFS(folder), "*")
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	for _, name := range names {
		if name == "hostname.pfsync0" && !p.pfsync {
			continue
		}
		text, err := os.ReadFile(path.Join(folder, name))
		if err != nil {
			return nil, err
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	return files, nil
}

// install gives both their files, and shows those that make a pair of them.
func (p *pair) install() error {
	for _, f := range []struct {
		*lab.Firewall
		letter string
		show   []string
	}{
		{p.A, "a", []string{"hostname.sis0", "hostname.carp0", "hostname.carp1", "hostname.pfsync0", "sysctl.conf"}},
		{p.B, "b", []string{"hostname.sis0", "hostname.carp0"}},
	} {
		files, err := p.files(path.Join(p.s.files, f.letter))
		if err != nil {
			return err
		}
		if err := f.Etc(files); err != nil {
			return err
		}
		if !p.pfsync {
			continue // they have been shown
		}
		var out strings.Builder
		for _, name := range f.show {
			if file, ok := files[name]; ok {
				text := strings.ReplaceAll(strings.TrimSpace(string(file.Data)), " \\\n", " ")
				fmt.Fprintf(&out, "%-17s %s\n", name+":", text)
			}
		}
		p.s.typed(host(p.Lab, f.Firewall), "cd /etc; head "+strings.Join(f.show, " "), out.String())
	}
	return nil
}

// waitMaster waits until f has both addresses, and the other one, if it lives, none.
func (p *pair) waitMaster(ctx context.Context, f *lab.Firewall) error {
	ctx, cancel := context.WithTimeout(ctx, electedIn)
	defer cancel()
	return lab.Eventually(ctx, host(p.Lab, f)+" becomes master", func() error {
		err := both(ctx, f, "MASTER")
		for _, other := range []*lab.Firewall{p.A, p.B} {
			if other != f && other.Running() {
				err = errors.Join(err, both(ctx, other, "BACKUP"))
			}
		}
		return err
	})
}

// both is an error unless both carp interfaces are in a state.
func both(ctx context.Context, f *lab.Firewall, state string) error {
	out, err := f.Ifconfig(ctx, "carp")
	if err == nil && strings.Count(out, "carp: "+state+" ") != 2 {
		err = fmt.Errorf("ifconfig carp shows:\n%s", out)
	}
	return err
}

// waitSynced waits until both have asked each other for everything.
func (p *pair) waitSynced(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	for _, f := range []*lab.Firewall{p.A, p.B} {
		if err := f.WaitSynced(ctx); err != nil {
			return err
		}
		p.s.say("  %s has the states of its peer after %s", host(p.Lab, f), milliseconds(time.Since(began)))
	}
	return nil
}

// showCarp shows carp0 as an operator sees it.
func (p *pair) showCarp(ctx context.Context, list ...*lab.Firewall) error {
	for _, f := range list {
		out, err := f.Ifconfig(ctx, "carp0")
		if err != nil {
			return err
		}
		p.s.typed(host(p.Lab, f), "ifconfig carp0", out)
	}
	return nil
}

// showStatus is showCarp in a line each.
func (p *pair) showStatus(ctx context.Context, list ...*lab.Firewall) error {
	for _, f := range list {
		out, err := f.Ifconfig(ctx, "carp0")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "carp: ") {
				p.s.typed(host(p.Lab, f), "ifconfig carp0 | grep carp:", line)
			}
		}
	}
	return nil
}
