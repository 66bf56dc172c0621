package lab_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// The two ways to read the table agree, on what differs most from flow to flow.
func TestDumpIsEntries(t *testing.T) {
	l, ctx := newLab(t)
	for _, command := range []string{
		"-I -t 3600 -u SEEN_REPLY,ASSURED -s 192.168.0.10 -d 10.0.0.10 -p tcp --sport 1024 --dport 80 --state FIN_WAIT --mark 7",
		"-I -t 3600 -u SEEN_REPLY -s 192.168.0.10 -d 10.0.0.10 --src-nat 10.0.0.1 -p udp --sport 1024 --dport 80 --zone 9",
		"-I -t 3600 -s 192.168.0.10 -d 10.0.0.10 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
		"-I -t 3600 -s 2001:db8::1 -d 2001:db8::2 -p udp --sport 1 --dport 2",
	} {
		if _, err := l.A.Run(ctx, "conntrack", strings.Fields(command)...); err != nil {
			t.Fatal(err)
		}
	}
	byID := cmpopts.SortSlices(func(a, b lab.Entry) bool { return a.ID < b.ID })
	nearly := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= time.Second })
	want, err := l.A.Entries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.A.Dump()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, byID, nearly, compareAddr, cmpopts.IgnoreFields(lab.Entry{}, "Status")); diff != "" || len(got) < 4 {
		t.Errorf("conntrack -L and the dump, -want +got:\n%s", diff)
	}
	translated := slices.ContainsFunc(got, func(e lab.Entry) bool { return e.Status&0x10 != 0 })
	if !translated {
		t.Errorf("no entry is translated: %+v", got)
	}
}

func BenchmarkDump(b *testing.B) {
	const n = 100_000
	w := newWire(b)
	if err := w.lab.A.Load(b.Context(), n); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		entries, err := w.lab.A.Dump()
		if err != nil || len(entries) < n {
			b.Fatalf("%d entries, %v", len(entries), err)
		}
	}
}
