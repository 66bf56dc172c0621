package lab_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// established is the n-th of a table's connections.
func established(n uint16) lab.Entry {
	orig := lab.Tuple{Src: netip.MustParseAddr("192.168.0.10"), Dst: netip.MustParseAddr("10.0.0.10"), SPort: n, DPort: 80}
	reply := lab.Tuple{Src: orig.Dst, Dst: netip.MustParseAddr("10.0.0.1"), SPort: 80, DPort: n}
	return lab.Entry{ID: uint32(n), Status: 0x1e, Flow: lab.Flow{
		Proto: 6, Orig: orig, Reply: reply, State: "ESTABLISHED", SeenReply: true, Assured: true,
	}}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name    string
		active  func(*lab.Entry)
		backup  func(*lab.Entry)
		missing bool // in the backup
		extra   bool
		want    string
	}{
		{name: "equal", want: "none"},
		{name: "ids and timeouts are each kernel's own", backup: func(e *lab.Entry) { e.ID, e.Timeout = 9, 9 }, want: "none"},
		{name: "missing", missing: true, want: "1 missing"},
		{name: "extra", extra: true, want: "1 extra"},
		{name: "another zone", backup: func(e *lab.Entry) { e.Zone = 1 }, want: "1 missing, 1 extra"},
		{name: "translated otherwise", backup: func(e *lab.Entry) { e.Reply.DPort++ }, want: "1 other"},
		{name: "not translated, though it looks so", backup: func(e *lab.Entry) { e.Status &^= 0x10 }, want: "1 other"},
		{name: "mark", backup: func(e *lab.Entry) { e.Mark = 1 }, want: "1 other"},
		{name: "behind", active: func(e *lab.Entry) { e.State = "TIME_WAIT" }, want: "1 older"},
		{name: "ahead", backup: func(e *lab.Entry) { e.State = "FIN_WAIT" }, want: "1 newer"},
		{name: "ahead and behind", backup: func(e *lab.Entry) { e.State, e.Assured = "FIN_WAIT", false }, want: "1 older"},
		{name: "a simultaneous open", active: func(e *lab.Entry) { e.State = "SYN_SENT2" }, backup: func(e *lab.Entry) { e.State = "SYN_SENT" }, want: "1 older"},
		{name: "unanswered", backup: func(e *lab.Entry) { e.SeenReply = false }, want: "1 older"},
		{name: "private", missing: true, active: func(e *lab.Entry) { e.Orig.Dst = netip.MustParseAddr("192.168.254.253") }, want: "none"},
	} {
		active, backup := []lab.Entry{established(1), established(2)}, []lab.Entry{established(2), established(1)}
		if c.active != nil {
			c.active(&active[0])
		}
		if c.backup != nil {
			c.backup(&backup[1])
		}
		if c.missing {
			backup = backup[:1]
		}
		if c.extra {
			backup = append(backup, established(3))
		}
		ds := lab.Compare(active, backup)
		if diff := cmp.Diff(c.want, lab.CountDifferences(ds).String()); diff != "" {
			t.Errorf("%s: -want +got:\n%s\n%v", c.name, diff, ds)
		}
		if slices.ContainsFunc(ds, func(d lab.Difference) bool { return d.String() == "" }) {
			t.Errorf("%s: a difference without words", c.name)
		}
	}
}
