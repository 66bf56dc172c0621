package conntrack_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack"
	"github.com/pfsync-linux/pfsync/pfstate/tabletest"
	"github.com/pfsync-linux/pfsync/test/lab"
	"github.com/pfsync-linux/pfsync/test/lab/labtest"
)

// TestFullTableRefusesAndRecovers fills a namespace to the kernel's own limit,
// which holds for each namespace alone and can be changed for all of them only.
func TestFullTableRefusesAndRecovers(t *testing.T) {
	ns := labtest.NewNS(t)
	k := openKernel(t, ns)
	table := open(t, ns, conntrack.Config{})
	limit := table.Limit()
	if want := sysctl(t, ns, "nf_conntrack_max"); limit != want || limit == 0 {
		t.Fatalf("limit %d, want %d", limit, want)
	}
	// Nobody listens while it is filled.
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	k.fill(limit)
	if got := sysctl(t, ns, "nf_conntrack_count"); got != limit {
		t.Fatalf("%d entries, want %d", got, limit)
	}
	table = open(t, ns, conntrack.Config{})
	h := tabletest.Start(t, table)
	const n = 100
	fresh := func(i int) pfstate.State { return tabletest.UDP(i) }
	refused := func(count int) {
		t.Helper()
		var ws []pfstate.Write
		for i := range count {
			ws = append(ws, pfstate.Write{Kind: pfstate.WriteInsert, Notify: true, State: fresh(i)})
		}
		h.Write(ws...)
		for range ws {
			if c := h.Want(pfstate.Refused); !errors.Is(c.Err, pfstate.ErrTableFull) || c.Op != pfstate.WriteInsert {
				t.Fatalf("%v refused: %v, want insert: ErrTableFull", c.Op, c.Err)
			}
		}
	}
	refused(n)
	if got := counter(t, table, "refused_full"); got != n {
		t.Errorf("refused_full = %d, want %d", got, n)
	}
	// What is there needs no room.
	h.Apply(pfstate.WriteInsert, tabletest.TCP(0), 0)
	h.Apply(pfstate.WriteUpdate, tabletest.TCP(1), 0)
	for i := range n {
		h.Apply(pfstate.WriteDelete, tabletest.TCP(i), 0)
	}
	for i := range n {
		h.Apply(pfstate.WriteInsert, fresh(i), 0)
	}
	if got := sysctl(t, ns, "nf_conntrack_count"); got != limit {
		t.Errorf("%d entries, want %d", got, limit)
	}
	h.Write(pfstate.Write{Kind: pfstate.WriteInsert, State: fresh(n)})
	if c := h.Want(pfstate.Refused); !errors.Is(c.Err, pfstate.ErrTableFull) {
		t.Errorf("full again: %v, want ErrTableFull", c.Err)
	}
}

func sysctl(t *testing.T, ns *lab.NS, name string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(labtest.Run(t, ns, "cat /proc/sys/net/netfilter/"+name)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fill makes the first n of the suite's TCP states, all assured, so that the
// kernel throws none of them out for another. One message is written by the long
// way; the others are that with another source.
func (k *kernel) fill(n int) {
	k.t.Helper()
	const some = 0x1234 // stands out
	template, sample := creation(k.t, some), tabletest.Flow(some, false)
	places := func(what []byte) []int { // once in either tuple
		first, last := bytes.Index(template, what), bytes.LastIndex(template, what)
		if first == last || bytes.Count(template, what) != 2 {
			k.t.Fatalf("%x stands %d times in the message, want 2", what, bytes.Count(template, what))
		}
		return []int{first, last}
	}
	src := sample.Src.As4()
	addrs, ports := places(src[:]), places(binary.BigEndian.AppendUint16(nil, sample.SrcPort))
	var out []byte
	for i := range n {
		flow := tabletest.Flow(i, false)
		src := flow.Src.As4()
		for _, at := range addrs {
			copy(template[at:], src[:])
		}
		for _, at := range ports {
			binary.BigEndian.PutUint16(template[at:], flow.SrcPort)
		}
		out = append(out, template...)
		if len(out) > 24<<10 || i == n-1 {
			k.send(out)
			out = out[:0]
		}
	}
}
