package rush

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Comparison is how a backup's table differs from the active firewall's.
type Comparison struct {
	Entries                   int // of the active firewall
	Missing, Extra, Different int
	Otherwise                 int               // of the different ones: those that differ in more than the time they have left
	Fields                    map[string]int    // in what they differ
	Examples                  map[string]string // of each of these, and of what is missing or extra
	Late                      []time.Duration   // by how much the copies were made later, in order
}

// Equal tells whether nothing differs.
func (c *Comparison) Equal() bool { return c.Missing+c.Extra+c.Different == 0 }

// Quantile is the lateness that q of all copies do not exceed.
func (c *Comparison) Quantile(q float64) time.Duration {
	if len(c.Late) == 0 {
		return 0
	}
	return c.Late[min(len(c.Late)-1, int(q*float64(len(c.Late))))]
}

// tolerance is by how many seconds the ends of two entries may lie apart. Large tables are
// not read at once, so that the ends are compared, not the times left.
const tolerance = 5

// compared are the bits of the status that two firewalls must agree on.
const compared = seenReply | assured | nat

// Compare reads both tables. If both kernels note when an entry was made
// (nf_conntrack_timestamp), it tells how late the copies were.
func Compare(active, backup *Table) (*Comparison, error) {
	n, err := active.Count()
	if err != nil {
		return nil, err
	}
	there := make(map[Flow]seen, n)
	if err := active.read(func(f Flow, e seen) { there[f] = e }); err != nil {
		return nil, err
	}
	c := &Comparison{Entries: len(there), Fields: map[string]int{}, Examples: map[string]string{}, Late: make([]time.Duration, 0, len(there))}
	extra := map[Flow]bool{}
	err = backup.read(func(f Flow, b seen) {
		a, ok := there[f]
		switch {
		case !ok && !extra[f]:
			extra[f] = true
			c.example("extra", f, b)
		case ok && !a.met: // a dump may show an entry twice
			c.judge(f, a, b)
			a.met = true
			there[f] = a
		}
	})
	c.Extra = len(extra)
	for f, a := range there {
		if !a.met {
			c.Missing++
			c.example("missing", f, a)
		}
	}
	slices.Sort(c.Late)
	return c, err
}

func (c *Comparison) judge(f Flow, a, b seen) {
	if a.made > 0 && b.made > 0 {
		c.Late = append(c.Late, time.Duration(b.made-a.made))
	}
	fields := differing(a, b)
	if len(fields) == 0 {
		return
	}
	c.Different++
	if len(fields) > 1 || fields[0] != timeLeft {
		c.Otherwise++
	}
	for _, field := range fields {
		c.Fields[field]++
		if _, ok := c.Examples[field]; !ok {
			c.Examples[field] = fmt.Sprintf("%v: %v there, %v here", f, a, b)
		}
	}
}

func (c *Comparison) example(what string, f Flow, e seen) {
	if _, ok := c.Examples[what]; !ok {
		c.Examples[what] = fmt.Sprintf("%v: %v", f, e)
	}
}

// timeLeft is the field that a daemon may set otherwise on purpose: pfsyncd gives copies
// long timeouts, and removes them when their owner says so.
const timeLeft = "timeout"

func differing(a, b seen) (fields []string) {
	for _, field := range []struct {
		name    string
		differs bool
	}{
		{"reply tuple", a.reply != b.reply},
		{"status", (a.status^b.status)&compared != 0},
		{"TCP state", a.tcp != b.tcp},
		{"window scale", a.scales != b.scales},
		{"mark", a.mark != b.mark},
		{timeLeft, max(a.ends, b.ends)-min(a.ends, b.ends) > tolerance},
	} {
		if field.differs {
			fields = append(fields, field.name)
		}
	}
	return fields
}

// String shows the flow on one line.
func (f Flow) String() string {
	addr := func(a [16]byte, port uint16) netip.AddrPort {
		if f.six {
			return netip.AddrPortFrom(netip.AddrFrom16(a), port)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[:4])), port)
	}
	return fmt.Sprintf("%d %v > %v zone %d", f.proto, addr(f.src, f.sport), addr(f.dst, f.dport), f.zone)
}

func (e seen) String() string {
	return fmt.Sprintf("(reply %v) status %#x TCP %d scales %v timeout %d mark %#x", e.reply, e.status, e.tcp, e.scales, e.timeout, e.mark)
}
