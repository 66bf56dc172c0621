package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// bsdRow is a line of netstat -s -p pfsync; %s is the s of the plural.
type bsdRow struct {
	counter string // not there: 0
	text    string
}

// OpenBSD's lines, in its order and its words (usr.bin/netstat/inet.c).
var (
	bsdReceived = []bsdRow{
		{"ipackets", "\t%d packet%s received (IPv4)"},
		{"ipackets6", "\t%d packet%s received (IPv6)"},
		{"badif", "\t\t%d packet%s discarded for bad interface"},
		{"badttl", "\t\t%d packet%s discarded for bad ttl"},
		{"hdrops", "\t\t%d packet%s shorter than header"},
		{"badver", "\t\t%d packet%s discarded for bad version"},
		{"badauth", "\t\t%d packet%s discarded for bad HMAC"},
		{"badact", "\t\t%d packet%s discarded for bad action"},
		{"badlen", "\t\t%d packet%s discarded for short packet"},
		{"badval", "\t\t%d state%s discarded for bad values"},
		{"stale", "\t\t%d stale state%s"},
		{"badstate", "\t\t%d failed state lookup/insert%s"},
	}
	bsdSent = []bsdRow{
		{"opackets", "\t%d packet%s sent (IPv4)"},
		{"opackets6", "\t%d packet%s sent (IPv6)"},
		{"onomem", "\t\t%d send failed due to mbuf memory error"},
		{"oerrors", "\t\t%d send error"},
	}
)

// bsdCarp are the lines of netstat -s -p carp.
var bsdCarp = []bsdRow{
	{"carp_ipackets", "\t%d packet%s received (IPv4)"},
	{"carp_ipackets6", "\t%d packet%s received (IPv6)"},
	{"carp_badif", "\t\t%d packet%s discarded for bad interface"},
	{"carp_badttl", "\t\t%d packet%s discarded for wrong TTL"},
	{"carp_hdrops", "\t\t%d packet%s shorter than header"},
	{"carp_badsum", "\t\t%d discarded for bad checksum%s"},
	{"carp_badver", "\t\t%d discarded packet%s with a bad version"},
	{"carp_badlen", "\t\t%d discarded because packet%s too short"},
	{"carp_badauth", "\t\t%d discarded for bad authentication"},
	{"carp_badvhid", "\t\t%d discarded for bad vhid"},
	{"carp_badaddrs", "\t\t%d discarded because of a bad address list"},
	{"carp_opackets", "\t%d packet%s sent (IPv4)"},
	{"carp_opackets6", "\t%d packet%s sent (IPv6)"},
	{"carp_onomem", "\t\t%d send failed due to mbuf memory error"},
	{"carp_preempt", "\t%d transition%s to master"},
}

// bsdActions are FreeBSD's names of what OpenBSD's tcpdump, and so the counters, call otherwise.
var bsdActions = []struct{ counter, name string }{
	{"CLR ST", "clear all request"},
	{"INS ST", "state insert"},
	{"INS ST ACK", "state inserted ack"},
	{"UPD ST", "state update"},
	{"UPD ST COMP", "compressed state update"},
	{"UPD ST REQ", "uncompressed state request"},
	{"DEL ST", "state delete"},
	{"DEL ST COMP", "compressed state delete"},
	{"INS FR", "fragment insert"},
	{"DEL FR", "fragment delete"},
	{"BULK UPD STAT", "bulk update mark"},
	{"UPD TDB", "TDB replay counter update"},
	{"EOF", "end of frame mark"},
}

// printBSD prints what netstat -s -p pfsync does: all of OpenBSD's lines, and FreeBSD's of the
// messages, with zero also those that did not come.
func printBSD(w io.Writer, all []pfstate.Counter, zero bool) error {
	value := map[string]uint64{}
	for _, c := range all {
		value[c.Name] = c.Value
	}
	var b strings.Builder
	b.WriteString("pfsync:\n")
	line := func(format string, n uint64) {
		s := "s"
		if n == 1 {
			s = ""
		}
		if strings.Contains(format, "%s") {
			fmt.Fprintf(&b, format+"\n", n, s)
		} else {
			fmt.Fprintf(&b, format+"\n", n)
		}
	}
	for _, side := range []struct {
		rows         []bsdRow
		prefix, verb string
	}{{bsdReceived, "iacts.", "received"}, {bsdSent, "oacts.", "sent"}} {
		for _, r := range side.rows {
			line(r.text, value[r.counter])
		}
		for _, a := range bsdActions {
			if n := value[side.prefix+a.counter]; n > 0 || zero {
				line("\t    %d "+a.name+"%s "+side.verb, n)
			}
		}
	}
	if _, carp := value["carp_ipackets"]; carp {
		b.WriteString("carp:\n")
		for _, r := range bsdCarp {
			line(r.text, value[r.counter])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
