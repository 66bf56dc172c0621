package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Verdict is how a backup's table differs from the active firewall's in one entry.
type Verdict int

// The verdicts, from the worst on. The backup is read last, so that a copy may well be
// newer in passing; one that stays so is that of an earlier connection.
const (
	CopyMissing Verdict = iota // the backup lacks it
	CopyExtra                  // only the backup has it
	CopyOther                  // not the same connection: translation, mark
	CopyOlder                  // the copy is behind: an earlier TCP state, not yet answered, not yet assured
	CopyNewer                  // the copy is ahead in one of these and behind in none
)

// verdicts is the number of verdicts.
const verdicts = int(CopyNewer) + 1

// String is the verdict in reports.
func (v Verdict) String() string {
	return [verdicts]string{"missing", "extra", "other", "older", "newer"}[v]
}

// Difference is one entry in which the tables differ; of CopyMissing and CopyExtra, one is
// the zero Entry.
type Difference struct {
	Verdict        Verdict
	Active, Backup Entry
}

// String shows the difference on one line.
func (d Difference) String() string {
	switch d.Verdict {
	case CopyMissing:
		return fmt.Sprintf("missing: %v", d.Active.Flow)
	case CopyExtra:
		return fmt.Sprintf("extra: %v", d.Backup.Flow)
	default:
		return fmt.Sprintf("%v: %v status %#x, not %v status %#x", d.Verdict, d.Backup.Flow, d.Backup.Status, d.Active.Flow, d.Active.Status)
	}
}

// Count is a number of differences by verdict.
type Count [verdicts]int

// CountDifferences counts by verdict.
func CountDifferences(ds []Difference) (c Count) {
	for _, d := range ds {
		c[d.Verdict]++
	}
	return c
}

// String names the verdicts that occurred: "3 missing, 1 older", or "none".
func (c Count) String() string {
	var words []string
	for v, n := range c {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %v", n, Verdict(v)))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// key names a connection on both firewalls.
type key struct {
	proto uint8
	zone  uint16
	orig  Tuple
}

func (e Entry) key() key { return key{e.Proto, e.Zone, e.Orig} }

// Compare returns where the backup's table differs from the active firewall's, entry
// by entry: both tuples, zone, mark, the bits that make the kernel translate, and how
// far a connection has come. Timeouts are each kernel's own. What firewalls say for
// themselves, on the sync link or to themselves, is not shared and not compared.
func Compare(active, backup []Entry) []Difference {
	copies := make(map[key]Entry, len(backup))
	for _, e := range backup {
		if !e.private() {
			copies[e.key()] = e
		}
	}
	var ds []Difference
	for _, a := range active {
		if a.private() {
			continue
		}
		k := a.key()
		b, ok := copies[k]
		delete(copies, k)
		if !ok {
			ds = append(ds, Difference{Verdict: CopyMissing, Active: a})
		} else if v, differs := judge(a, b); differs {
			ds = append(ds, Difference{Verdict: v, Active: a, Backup: b})
		}
	}
	for _, b := range copies {
		ds = append(ds, Difference{Verdict: CopyExtra, Backup: b})
	}
	return ds
}

// judge compares two entries of one connection.
func judge(a, b Entry) (v Verdict, differs bool) {
	if a.Reply != b.Reply || a.Mark != b.Mark || (a.Status^b.Status)&statusNAT != 0 {
		return CopyOther, true
	}
	pa, pb := a.progress(), b.progress()
	for i := range pa {
		if pb[i] < pa[i] {
			return CopyOlder, true
		}
	}
	return CopyNewer, pa != pb
}

// progress is how far the connection has come, in things that only grow.
func (e Entry) progress() (p [3]int) {
	p[0] = slices.Index(tcpOrder[:], e.State) // -1 of other protocols
	if e.SeenReply {
		p[1] = 1
	}
	if e.Assured {
		p[2] = 1
	}
	return p
}

// tcpOrder is the order in which a connection passes the states, or most of them.
var tcpOrder = [...]string{
	"NONE", "SYN_SENT", "SYN_SENT2", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
}

// syncNet is the network between the two sis2.
var syncNet = netip.MustParsePrefix("192.168.254.0/24")

// private tells whether the entry is the firewall's own affair.
func (e Entry) private() bool {
	return slices.ContainsFunc([]netip.Addr{e.Orig.Src, e.Orig.Dst}, func(a netip.Addr) bool {
		return syncNet.Contains(a) || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast()
	})
}
