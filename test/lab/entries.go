package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Tuple is one direction of a conntrack entry, as the tool conntrack shows it.
type Tuple struct {
	Src, Dst     netip.Addr
	SPort, DPort uint16 // keys, for GRE
	Type, Code   uint8  // of ICMP and ICMPv6
	ID           uint16 // of ICMP and ICMPv6
}

// Flow is what two firewalls must agree on of a conntrack entry; it can be compared.
type Flow struct {
	Proto       uint8
	Orig, Reply Tuple
	State       string // TCP's and SCTP's
	SeenReply   bool
	Assured     bool
	Mark        uint32
	Zone        uint16
}

// String shows the flow on one line, for messages of tests.
func (f Flow) String() string {
	return fmt.Sprintf("%d %v:%d > %v:%d (reply %v:%d > %v:%d) %s seenreply=%t assured=%t",
		f.Proto, f.Orig.Src, f.Orig.SPort, f.Orig.Dst, f.Orig.DPort,
		f.Reply.Src, f.Reply.SPort, f.Reply.Dst, f.Reply.DPort, f.State, f.SeenReply, f.Assured)
}

// Entry is one conntrack entry: a Flow, and what each kernel has of its own.
type Entry struct {
	Flow
	Timeout time.Duration // seconds left
	ID      uint32
	Status  uint32 // the kernel's bits; 0 from Entries
}

// Entries returns the firewall's conntrack table, IPv4 and IPv6, in the kernel's order.
func (f *Firewall) Entries(ctx context.Context) ([]Entry, error) {
	// The tool reports the number of entries on stderr, which Run would mix in.
	out, err := f.Output(ctx, "conntrack", "-L", "-o", "extended,id")
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for line := range strings.Lines(out) {
		e, err := ParseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// CountEntries is the number of entries in the firewall's conntrack table.
func (f *Firewall) CountEntries(ctx context.Context) (int, error) {
	out, err := f.Output(ctx, "conntrack", "-C")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// ParseEntry reads one line of `conntrack -L -o extended,id`:
//
//	ipv4 2 tcp 6 99 ESTABLISHED src=… dst=… sport=… dport=… src=… … [ASSURED] mark=0 use=1 id=7
func ParseEntry(line string) (Entry, error) {
	e := Entry{Flow: Flow{SeenReply: true}}
	words := strings.Fields(line)
	if len(words) < 5 {
		return e, fmt.Errorf("conntrack entry: %q is too short", line)
	}
	var seconds uint32
	err := errors.Join(parseNumber(words[3], &e.Proto), parseNumber(words[4], &seconds))
	if err != nil {
		return e, fmt.Errorf("conntrack entry: %w in %q", err, line)
	}
	e.Timeout = time.Duration(seconds) * time.Second

	var tuples []*Tuple // those begun
	last := ""
	for _, word := range words[5:] {
		key, value, pair := strings.Cut(word, "=")
		if !pair {
			e.flag(word)
			continue
		}
		if key == "src" {
			if len(tuples) == 2 {
				return e, fmt.Errorf("conntrack entry: three tuples in %q", line)
			}
			tuples = append(tuples, [...]*Tuple{&e.Orig, &e.Reply}[len(tuples)])
		}
		if len(tuples) == 0 {
			continue // GRE's own timeouts, in some versions
		}
		if key == "id" && last == "code" {
			key = "icmpid" // the tuple's id; the entry's own comes at the end
		}
		if err := e.attribute(tuples[len(tuples)-1], key, value); err != nil {
			return e, fmt.Errorf("conntrack entry: %q: %w in %q", word, err, line)
		}
		last = key
	}
	if len(tuples) != 2 {
		return e, fmt.Errorf("conntrack entry: no two tuples in %q", line)
	}
	return e, nil
}

func (e *Entry) flag(word string) {
	switch word {
	case "[UNREPLIED]":
		e.SeenReply = false
	case "[ASSURED]":
		e.Assured = true
	default:
		if !strings.HasPrefix(word, "[") {
			e.State = word
		}
	}
}

func (e *Entry) attribute(t *Tuple, key, value string) (err error) {
	switch key {
	case "src":
		t.Src, err = netip.ParseAddr(value)
	case "dst":
		t.Dst, err = netip.ParseAddr(value)
	case "sport", "srckey":
		err = parseNumber(value, &t.SPort)
	case "dport", "dstkey":
		err = parseNumber(value, &t.DPort)
	case "type":
		err = parseNumber(value, &t.Type)
	case "code":
		err = parseNumber(value, &t.Code)
	case "mark":
		err = parseNumber(value, &e.Mark)
	case "zone":
		err = parseNumber(value, &e.Zone)
	case "icmpid":
		err = parseNumber(value, &t.ID)
	case "id":
		err = parseNumber(value, &e.ID)
	}
	return err
}

func parseNumber[T uint8 | uint16 | uint32](s string, to *T) error {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return err
	}
	if *to = T(n); uint64(*to) != n {
		return fmt.Errorf("%s: out of range", s)
	}
	return nil
}
