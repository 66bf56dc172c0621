package conntrack_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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
	t.Cleanup(k.flush) // dumps in every namespace walk over what is there in any
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

// TestFixedTimeoutIsRefused: somebody has nailed an entry's timeout down, and the
// kernel does not let us change it.
func TestFixedTimeoutIsRefused(t *testing.T) {
	ns := labtest.NewNS(t)
	table := open(t, ns, conntrack.Config{})
	h, k := tabletest.Start(t, table), openKernel(t, ns)
	const fixed = 0x400
	r := rawOf(tabletest.TCP(1))
	r.Status |= fixed
	if err := k.make(r); err != nil {
		t.Fatal(err)
	}
	h.Want(pfstate.Created)
	for _, w := range []pfstate.Write{{Kind: pfstate.WriteUpdate}, {Kind: pfstate.WriteUpdate, Renew: true}, {Kind: pfstate.WriteInsert}} {
		w.State = tabletest.TCP(1)
		h.Write(w)
		if c := h.Want(pfstate.Refused); !errors.Is(c.Err, unix.EPERM) || !strings.Contains(c.Err.Error(), "timeout is fixed") || c.Op != w.Kind {
			t.Errorf("%v of %v, want EPERM of %v", c.Err, c.Op, w.Kind)
		}
	}
	if got := counter(t, table, "refused_other"); got != 3 {
		t.Errorf("refused_other = %d, want 3", got)
	}
}

// TestDumpAfterOneThatBrokeOff: the kernel does one dump at a time on a socket, and
// refuses the next while the rest of the last is not read.
func TestDumpAfterOneThatBrokeOff(t *testing.T) {
	ns := labtest.NewNS(t)
	table, k := open(t, ns, conntrack.Config{}), openKernel(t, ns)
	const n = 3000 // more than one datagram
	k.fill(n)
	if err := conntrack.LeaveDump(table); err != nil {
		t.Fatal(err)
	}
	h := tabletest.Start(t, table)
	for range 2 {
		if got := len(h.Dump()); got != n {
			t.Errorf("%d states seen, want %d", got, n)
		}
	}
}

// TestABrokenSocketEndsRun: with an error, for nobody asked it to end.
func TestABrokenSocketEndsRun(t *testing.T) {
	for name, crash := range map[string]func(*conntrack.Table) error{"events": conntrack.BreakEvents, "dump": conntrack.BreakDumper} {
		t.Run(name, func(t *testing.T) {
			table := open(t, labtest.NewNS(t), conntrack.Config{})
			ended, dumped := make(chan error, 1), make(chan error)
			go func() { ended <- table.Run(t.Context()) }()
			go func() {
				for {
					select {
					case b := <-table.Changes():
						for _, c := range b.Items {
							if c.Kind == pfstate.DumpEnd {
								dumped <- c.Err
							}
						}
						b.Free()
					case <-t.Context().Done():
						return
					}
				}
			}()
			dump := func() *pfstate.Batch[pfstate.Write] {
				return &pfstate.Batch[pfstate.Write]{Items: []pfstate.Write{{Kind: pfstate.WriteDump}}}
			}
			table.Writes() <- dump()
			if err := <-dumped; err != nil {
				t.Fatal(err)
			}
			if err := crash(table); err != nil {
				t.Fatal(err)
			}
			writes := table.Writes()
			for {
				select {
				case writes <- dump():
					writes = nil
				case err := <-dumped:
					if name == "dump" {
						t.Fatalf("a dump ended, %v; want the end of Run", err)
					}
				case err := <-ended:
					if err == nil || !strings.Contains(err.Error(), "conntrack: "+name+": ") {
						t.Errorf("Run: %v, want an error of %s", err, name)
					}
					return
				}
			}
		})
	}
}

// TestTableHasANameOfItsOwn: the same over restarts of the daemon, another in each namespace.
func TestTableHasANameOfItsOwn(t *testing.T) {
	first, second := labtest.NewNS(t), labtest.NewNS(t)
	name := open(t, first, conntrack.Config{}).Incarnation()
	if again := open(t, first, conntrack.Config{}).Incarnation(); again != name {
		t.Errorf("names %q and %q of one table", name, again)
	}
	if other := open(t, second, conntrack.Config{}).Incarnation(); other == name {
		t.Errorf("name %q of two tables", name)
	}
	boot := strings.TrimSpace(labtest.Run(t, first, "cat /proc/sys/kernel/random/boot_id"))
	if rest, found := strings.CutPrefix(name, boot+" "); !found || rest == "" || strings.Contains(name, "\n") {
		t.Errorf("name %q, want one line that begins with %q", name, boot)
	}
}
