package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// captures are programs that look at fwA's pfsync0.
type captures struct{ running []*capture }

type capture struct {
	title string // the command as shown
	cmd   *exec.Cmd
	file  string // what it prints
}

// startCaptures returns once tcpdump listens.
func startCaptures(ctx context.Context, l *lab.Lab) (*captures, error) {
	c := &captures{}
	for _, words := range [][]string{
		{"tcpdump", "-l", "-n", "-i", "pfsync0"},
		{l.A.Program("pfsyncdump"), "-i", "pfsync0"},
	} {
		name := filepath.Base(words[0])
		p := &capture{
			title: strings.Join(append([]string{name}, words[1:]...), " "),
			cmd:   exec.Command(words[0], words[1:]...),
			file:  filepath.Join(l.Dir, name+".out"),
		}
		if err := p.start(l.A); err != nil {
			c.stop()
			return nil, err
		}
		c.running = append(c.running, p)
	}
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	err := lab.Eventually(ctx, "tcpdump -i pfsync0", func() error {
		said, err := os.ReadFile(c.running[0].file + ".err")
		if err == nil && !strings.Contains(string(said), "listening on") {
			err = fmt.Errorf("it says: %s", said)
		}
		return err
	})
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (p *capture) start(f *lab.Firewall) error {
	out, err := os.Create(p.file)
	if err != nil {
		return err
	}
	defer out.Close()
	stderr, err := os.Create(p.file + ".err")
	if err != nil {
		return err
	}
	defer stderr.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, stderr
	if err := f.Start(p.cmd); err != nil {
		return fmt.Errorf("%s: %w", p.title, err)
	}
	return nil
}

// show prints the last lines of each, waiting a little for one that has printed nothing yet.
func (c *captures) show(ctx context.Context, s *story) error {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, p := range c.running {
		err := lab.Eventually(ctx, p.title, func() error {
			if st, err := os.Stat(p.file); err != nil || st.Size() > 0 {
				return err
			}
			said, err := os.ReadFile(p.file + ".err")
			if err != nil {
				return err
			}
			return fmt.Errorf("no packet seen; it says: %s", said)
		})
		if err != nil {
			return err
		}
		if err := s.showTail("fwA", p.title, p.file); err != nil {
			return err
		}
	}
	return nil
}

func (c *captures) stop() {
	for _, p := range c.running {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
	c.running = nil
}
