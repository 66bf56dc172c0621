package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// story prints what happens, as it happens.
type story struct {
	out         io.Writer
	bin         string
	files       string // the folder with those of both firewalls, in a and b
	connections int
}

const picture = `
                    ┌─ sis1  fwA  sis0 ─┐
                    │        sis2       │
  client ── inside ─┤          │        ├─ outside ── server
                    │        sis2       │
                    └─ sis1  fwB  sis0 ─┘

  inside    192.168.0.0/24   client .10, gateway .1 shared by fwA .254 and fwB .253
  outside   10.0.0.0/24      server .10, address .1 shared by fwA .254 and fwB .253
  sync      192.168.254.0/24 fwA .254, fwB .253

  Both firewalls run the same nftables rules: stateful, default deny, invalid packets
  dropped, new connections only from inside, source NAT to 10.0.0.1; and one service
  let in: 10.0.0.1:8080 leads to the client's port 80. carp gives the shared addresses to
  one of them: to fwA, as long as it lives.
`

func (s *story) introduce() {
	s.say("pfsync for Linux: a firewall dies, its connections live\n%s", picture)
}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *story) part(title string) {
	s.say("\n=== %s %s", title, strings.Repeat("=", 80-len(title)))
}

func (s *story) step(format string, args ...any) { s.say("\n--- "+format, args...) }

// typed shows a command as it was typed at a firewall, and what it printed.
func (s *story) typed(host, command, output string) {
	s.say("  %s# %s", host, command)
	for line := range strings.Lines(output) {
		s.say("      %s", strings.TrimRight(line, "\n"))
	}
}

// host is the firewall's name as people say it.
func host(l *lab.Lab, f *lab.Firewall) string {
	if f == l.A {
		return "fwA"
	}
	return "fwB"
}

// showPfsync shows what an operator sees of pfsync0.
func (s *story) showPfsync(ctx context.Context, l *lab.Lab, f *lab.Firewall) error {
	out, err := f.Ifconfig(ctx, "pfsync0")
	if err != nil {
		return err
	}
	s.typed(host(l, f), "ifconfig pfsync0", out)
	return nil
}

func (s *story) showCount(ctx context.Context, l *lab.Lab, f *lab.Firewall) error {
	n, err := f.CountEntries(ctx)
	if err != nil {
		return err
	}
	s.typed(host(l, f), "conntrack -C", fmt.Sprintln(n))
	return nil
}

// showTail shows the last lines of a program's output so far, cut to the screen.
func (s *story) showTail(host, command, file string) error {
	const lines, width = 3, 112
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	all := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	s.say("  %s# %s", host, command)
	if len(all) > lines {
		s.say("      ... %d lines before", len(all)-lines)
		all = all[len(all)-lines:]
	}
	for _, line := range all {
		if r := []rune(string(line)); len(r) > width {
			line = []byte(string(r[:width-1]) + "…")
		}
		s.say("      %s", line)
	}
	return nil
}
