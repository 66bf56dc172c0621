package tabletest

import (
	"context"
	"testing"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Table is what the sync engine wants of a table.
type Table interface {
	Changes() <-chan *pfstate.Batch[pfstate.Change]
	Writes() chan<- *pfstate.Batch[pfstate.Write]
	Run(context.Context) error
}

// Traffic acts upon the table as packets and other programs do, beside Writes.
type Traffic interface {
	Create(pfstate.State) error
	Update(pfstate.State) error
	Delete(pfstate.State) error
}

// patience is for tables that hang: nothing is expected to take that long.
const patience = 60 * time.Second

// Harness runs a table and plays its engine.
type Harness struct {
	T       testing.TB // may be replaced by a subtest's
	Table   Table
	Hints   int // of forwarding; they are counted apart from what else the table says
	probes  uint32
	got     []pfstate.Change
	cancel  context.CancelFunc
	stopped chan struct{}
}

// Start runs the table until the test ends or Stop is called.
func Start(t testing.TB, table Table) *Harness {
	ctx, cancel := context.WithCancel(context.Background())
	h := &Harness{T: t, Table: table, cancel: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(h.stopped)
		if err := table.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(h.Stop)
	return h
}

// Stop ends the table and waits for it.
func (h *Harness) Stop() {
	h.T.Helper()
	h.cancel()
	select {
	case <-h.stopped:
	case <-time.After(patience):
		h.T.Fatal("Run does not end with its context")
	}
}

// Write gives orders, reading changes meanwhile as an engine does.
func (h *Harness) Write(ws ...pfstate.Write) {
	h.T.Helper()
	late := time.After(patience)
	orders := &pfstate.Batch[pfstate.Write]{Items: ws}
	for {
		select {
		case h.Table.Writes() <- orders:
			return
		case b := <-h.Table.Changes():
			h.take(b)
		case <-late:
			h.T.Fatal("writes are not taken")
		}
	}
}

// Next is the next change.
func (h *Harness) Next() pfstate.Change {
	h.T.Helper()
	late := time.After(patience)
	for len(h.got) == 0 {
		select {
		case b := <-h.Table.Changes():
			h.take(b)
		case <-late:
			h.T.Fatal("the table says nothing")
		}
	}
	c := h.got[0]
	h.got = h.got[1:]
	return c
}

func (h *Harness) take(b *pfstate.Batch[pfstate.Change]) {
	for _, c := range b.Items {
		if c.Kind == pfstate.Forwarding {
			h.Hints++
		} else {
			h.got = append(h.got, c)
		}
	}
	b.Free()
}

// Hint waits for the next hint of forwarding.
func (h *Harness) Hint() {
	h.T.Helper()
	late := time.After(patience)
	for before := h.Hints; h.Hints == before; {
		select {
		case b := <-h.Table.Changes():
			h.take(b)
		case <-late:
			h.T.Fatal("no hint of forwarding")
		}
	}
}

// Want is Next, and fails the test if that is of another kind.
func (h *Harness) Want(kind pfstate.ChangeKind) pfstate.Change {
	h.T.Helper()
	c := h.Next()
	if c.Kind != kind {
		h.T.Fatalf("%s of %v (%v), want %s", KindName(c.Kind), &c.State, c.Err, KindName(kind))
	}
	return c
}

// Until collects changes up to the first of a kind, which is the last returned.
func (h *Harness) Until(kind pfstate.ChangeKind) []pfstate.Change {
	h.T.Helper()
	var list []pfstate.Change
	for {
		c := h.Next()
		list = append(list, c)
		if c.Kind == kind {
			return list
		}
	}
}

// Apply gives one order and waits until it is carried out; what else is said
// until then is returned. A refusal fails the test.
func (h *Harness) Apply(kind pfstate.WriteKind, s pfstate.State, ref uint32) []pfstate.Change {
	h.T.Helper()
	return h.apply(pfstate.Write{Kind: kind, Ref: ref, State: s})
}

func (h *Harness) apply(w pfstate.Write) []pfstate.Change {
	h.T.Helper()
	w.Notify = true
	h.Write(w)
	var list []pfstate.Change
	for {
		switch c := h.Next(); c.Kind {
		case pfstate.Applied:
			if c.Op != w.Kind {
				h.T.Fatalf("%v applied, want %v", c.Op, w.Kind)
			}
			return list
		case pfstate.Refused:
			h.T.Fatalf("%v of %v refused: %v", w.Kind, &w.State, c.Err)
		default:
			list = append(list, c)
		}
	}
}

// Probe asks for a state; nil: there is none.
func (h *Harness) Probe(s pfstate.State) *pfstate.Change {
	h.T.Helper()
	h.probes++
	for _, c := range h.apply(pfstate.Write{Kind: pfstate.WriteProbe, Probe: h.probes, State: s}) {
		if c.Op == pfstate.WriteProbe && c.Probe != h.probes {
			h.T.Errorf("answer to probe %d, want %d", c.Probe, h.probes)
		}
		switch c.Kind {
		case pfstate.Seen:
			return &c
		case pfstate.Absent:
			return nil
		}
	}
	h.T.Fatalf("probe of %v was not answered", &s)
	return nil
}

// Dump is the whole table as a dump tells it. Changes that come meanwhile are lost.
func (h *Harness) Dump() []pfstate.Change {
	h.T.Helper()
	h.Write(pfstate.Write{Kind: pfstate.WriteDump})
	h.Until(pfstate.DumpBegin)
	var list []pfstate.Change
	for _, c := range h.Until(pfstate.DumpEnd) {
		switch {
		case c.Kind == pfstate.Seen:
			list = append(list, c)
		case c.Err != nil:
			h.T.Fatalf("dump: %v", c.Err)
		}
	}
	return list
}

var kindNames = map[pfstate.ChangeKind]string{
	pfstate.Created: "created", pfstate.Updated: "updated", pfstate.Deleted: "deleted", pfstate.Seen: "seen",
	pfstate.Absent: "absent", pfstate.DumpBegin: "dump begin", pfstate.DumpEnd: "dump end",
	pfstate.Overrun: "overrun", pfstate.Applied: "applied", pfstate.Refused: "refused",
	pfstate.Forwarding: "forwarding",
}

// KindName is a change's kind in words.
func KindName(k pfstate.ChangeKind) string { return kindNames[k] }
