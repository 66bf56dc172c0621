package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// shown prints what -s names.
func (p *program) shown(ctx context.Context) error {
	if p.show == "states" {
		return p.showStates(ctx)
	}
	if p.show == "rules" {
		return p.showRules(ctx)
	}
	info, err := p.daemon.Info(ctx)
	if err != nil {
		return err
	}
	if p.json {
		return p.showJSON(ctx, info)
	}
	switch p.show {
	case "info":
		return p.showInfo(ctx, info)
	case "memory":
		return p.print(memory(info))
	case "timeouts":
		return p.print(timeouts(info))
	}
	for i, part := range []struct {
		title string
		show  func() error
	}{
		{"FILTER RULES", func() error { return p.showRules(ctx) }},
		{"STATES", func() error { return p.showStates(ctx) }},
		{"INFO", func() error { return p.showInfo(ctx, info) }},
		{"TIMEOUTS", func() error { return p.print(timeouts(info)) }},
		{"LIMITS", func() error { return p.print(memory(info)) }},
	} {
		title := part.title + ":\n"
		if i > 0 {
			title = "\n" + title
		}
		if err := p.print(title); err != nil {
			return err
		}
		if err := part.show(); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) print(text string) error {
	_, err := io.WriteString(p.stdout, text)
	return err
}

func (p *program) printJSON(key string, value any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{"schema": 1, key: value})
}

func (p *program) showJSON(ctx context.Context, info control.Info) error {
	switch p.show {
	case "memory":
		return p.printJSON("memory", map[string]int{"states": info.Limit})
	case "timeouts":
		return p.printJSON("timeouts", info.Timeouts)
	}
	counted, err := p.daemon.Counters(ctx)
	if err != nil {
		return err
	}
	info.Timeouts = nil
	return p.printJSON("info", struct {
		control.Info
		Timeouts *struct{}         `json:"timeouts,omitempty"` // they have a command of their own
		Counters map[string]uint64 `json:"counters"`
	}{Info: info, Counters: counters(counted)})
}

// showStates prints states as they come: how many there are does not matter.
func (p *program) showStates(ctx context.Context) error {
	own := ownAddresses()
	var maker func(creator uint32) string
	if p.verbose > 1 && !p.json {
		status, err := p.daemon.Status(ctx)
		if err != nil {
			return err
		}
		maker = makers(status)
	}
	out := bufio.NewWriterSize(p.stdout, 64<<10)
	err := p.daemon.States(ctx, control.Selection{Interface: p.iface, Host: p.host}, func(s *pfstate.State) error {
		turn(s, own)
		if p.json {
			line, err := marshalState(s)
			if err != nil {
				return err
			}
			_, err = out.Write(append(line, '\n'))
			return err
		}
		if _, err := out.WriteString(s.Format(p.verbose)); err != nil {
			return err
		}
		if maker != nil {
			sync := "nosync"
			if s.Flags&pfstate.FlagNoSync == 0 {
				sync = maker(s.ID.Creator)
			}
			if _, err := out.WriteString("\n   sync: " + sync); err != nil {
				return err
			}
		}
		return out.WriteByte('\n')
	})
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// makers names the firewall that made a state, by its creatorid.
func makers(status control.Status) func(creator uint32) string {
	names := map[uint32]string{}
	for _, p := range status.Peers {
		if p.Creator != 0 {
			names[uint32(p.Creator)] = "peer " + p.Addr.String()
		}
	}
	names[status.Creator] = "local"
	return func(creator uint32) string {
		if name, ok := names[creator]; ok {
			return name
		}
		return "peer unknown" // not heard since the daemon began
	}
}

// ownAddresses are those of this machine.
func ownAddresses() map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return own // then connections of its own look like forwarded ones
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr()] = true
		}
	}
	return own
}

// turn makes an incoming state of an outgoing one where pf would have had that: conntrack has one entry
// for a connection's ways in and out. Outgoing stay those whose source is translated, or is here.
func turn(s *pfstate.State, own map[netip.Addr]bool) {
	if s.Direction != pfstate.Out {
		return
	}
	orig, reply := s.Tuples()
	translated := orig.Src != reply.Dst || orig.SrcPort != reply.DstPort
	if translated || !s.Translated() && own[orig.Src] {
		return
	}
	zone := s.Stack.RDomain
	s.Direction = pfstate.In
	s.SetTuples(orig, reply, zone)
}

func (p *program) showRules(ctx context.Context) error {
	rules, err := p.daemon.Rules(ctx)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON("rules", rules)
	}
	if p.verbose > 0 {
		return p.print(rules.Ruleset.String())
	}
	var b strings.Builder
	for _, r := range rules.Ruleset.Rules {
		fmt.Fprintln(&b, r)
	}
	return p.print(b.String())
}

// pfCounters are the counters of pf's table and what counts them here; none where Linux has no such event.
var pfCounters = []struct {
	name string
	ours []string
}{
	{"match", nil}, {"bad-offset", nil}, {"fragment", nil}, {"short", nil}, {"normalize", nil}, {"memory", nil},
	{"bad-timestamp", nil}, {"congestion", []string{"table_overruns"}}, {"ip-option", nil}, {"proto-cksum", nil}, {"state-mismatch", nil},
	{"state-insert", []string{"table_refused_clash", "table_refused_unsupported", "table_refused_other"}},
	{"state-limit", []string{"table_refused_full"}}, {"src-limit", nil}, {"synproxy", nil}, {"translate", nil}, {"no-route", nil},
}

// The counters above those. Linux does not tell how often the table was searched.
var tableCounters = []struct {
	name string
	ours []string
}{
	{"searches", nil},
	{"inserts", []string{"table_events_new", "table_writes_insert"}},
	{"removals", []string{"table_events_destroy", "table_events_expired", "table_writes_delete"}},
}

// counters are pf's, made of ours.
func counters(all []pfstate.Counter) map[string]uint64 {
	value := map[string]uint64{}
	for _, c := range all {
		value[c.Name] = c.Value
	}
	pf := map[string]uint64{}
	for _, list := range [][]struct {
		name string
		ours []string
	}{tableCounters, pfCounters} {
		for _, c := range list {
			pf[c.name] = 0
			for _, name := range c.ours {
				pf[c.name] += value[name]
			}
		}
	}
	return pf
}

func (p *program) showInfo(ctx context.Context, info control.Info) error {
	counted, err := p.daemon.Counters(ctx)
	if err != nil {
		return err
	}
	return p.print(infoText(info, counters(counted), p.verbose))
}

// infoText has the columns of OpenBSD's print_status (pfctl_parser.c).
func infoText(info control.Info, counted map[string]uint64, verbose int) string {
	var b strings.Builder
	since := time.Duration(info.Since)
	word := "Disabled"
	if info.Enabled {
		word = "Enabled"
	}
	s := int64(since / time.Second)
	status := fmt.Sprintf("Status: %s for %d days %02d:%02d:%02d", word, s/86400, s/3600%24, s/60%60, s%60)
	fmt.Fprintf(&b, "%-44s%15s\n\n", status, "Debug: err")
	if verbose > 0 {
		fmt.Fprintf(&b, "Hostid:   0x%08x\nChecksum: 0x%s\n\n", uint32(info.Creator), info.Checksum)
	}
	plain := func(name string, n int) { fmt.Fprintf(&b, "  %-25s %14d %14s\n", name, n, "") }
	rated := func(name string) {
		fmt.Fprintf(&b, "  %-25s %14d ", name, counted[name])
		if s > 0 {
			fmt.Fprintf(&b, "%14.1f/s\n", float64(counted[name])/float64(s))
		} else {
			fmt.Fprintf(&b, "%14s\n", "")
		}
	}
	fmt.Fprintf(&b, "%-27s %14s %16s\n", "State Table", "Total", "Rate")
	plain("current entries", info.States)
	plain("half-open tcp", info.HalfOpen)
	for _, c := range tableCounters {
		rated(c.name)
	}
	fmt.Fprintln(&b, "Counters")
	for _, c := range pfCounters {
		rated(c.name)
	}
	return b.String()
}

func memory(info control.Info) string {
	if info.Limit == 0 {
		return fmt.Sprintf("%-13s unlimited\n", "states")
	}
	return fmt.Sprintf("%-13s hard limit %8d\n", "states", info.Limit)
}

// timeouts are printed in the order of OpenBSD's pfctl, where tcp.tsdiff stands with those of TCP.
func timeouts(info control.Info) string {
	var first, rest, differs strings.Builder
	to := &first
	for _, t := range info.Timeouts {
		unit := "s"
		if strings.HasPrefix(t.Name, "adaptive.") {
			unit = " states"
		}
		if t.Name == "udp.first" {
			to = &rest
		}
		line := to
		if t.Name == "tcp.tsdiff" {
			line = &differs
		}
		fmt.Fprintf(line, "%-20s %10d%s\n", t.Name, int64(time.Duration(t.Value)/time.Second), unit)
	}
	return first.String() + differs.String() + rest.String()
}
