package memory

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// apply carries out orders of the engine: silently, but for refusals and what was asked for.
func (t *Table) apply(ws []pfstate.Write) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for i := range ws {
		w := &ws[i]
		if err := t.order(w, now); err != nil {
			t.pending = append(t.pending, pfstate.Change{Kind: pfstate.Refused, Op: w.Kind, Ref: w.Ref, State: w.State, Err: err})
		} else if w.Notify {
			t.pending = append(t.pending, pfstate.Change{Kind: pfstate.Applied, Op: w.Kind, Ref: w.Ref, State: w.State})
		}
	}
}

func (t *Table) order(w *pfstate.Write, now time.Time) error {
	switch w.Kind {
	case pfstate.WriteDump:
		t.dumps = append(t.dumps, &dump{})
		return nil
	case pfstate.WriteFence:
		return nil // orders are carried out as they come
	}
	orig, reply, err := tuples(&w.State)
	if err != nil {
		return err
	}
	e := t.find(orig)
	switch w.Kind {
	case pfstate.WriteInsert:
		if e != nil {
			e.injected = e.injected || e.reply != reply // the kernel makes such a one anew
			return t.update(e, reply, &w.State, now)
		}
		if err := t.removeTwins(orig, reply, now); err != nil {
			return err
		}
		e, err := t.insert(orig, reply, &w.State, now)
		if err == nil {
			e.injected = true
		}
		return err
	case pfstate.WriteUpdate:
		if e == nil {
			return pfstate.ErrNoState
		}
		if w.Loosen {
			return nil // it checks no windows
		}
		if w.Renew {
			kept := e.state
			kept.Expire = w.State.Expire
			kept.Linux.Take(&w.State.Linux)
			return t.update(e, e.reply, &kept, now)
		}
		return t.update(e, reply, &w.State, now)
	case pfstate.WriteDelete:
		if e != nil && (w.Ref == 0 || w.Ref == e.ref) {
			t.remove(e)
		}
		return nil
	case pfstate.WriteProbe:
		c := pfstate.Change{Kind: pfstate.Absent, Op: pfstate.WriteProbe, Ref: w.Ref, Probe: w.Probe, State: w.State}
		if e != nil {
			c = pfstate.Change{Kind: pfstate.Seen, Op: pfstate.WriteProbe, Injected: e.injected, Ref: e.ref, Probe: w.Probe, State: e.at(now)}
		}
		t.pending = append(t.pending, c)
		return nil
	}
	return fmt.Errorf("write of kind %d: %w", w.Kind, pfstate.ErrUnsupported)
}

// tuples names the entry of a state, by both directions.
func tuples(s *pfstate.State) (orig, reply tuple, err error) {
	before, after := s.Stack.RDomain, s.Wire.RDomain
	if s.Direction != pfstate.Out {
		before, after = after, before
	}
	orig, reply = tuple{proto: s.Proto, zone: before}, tuple{proto: s.Proto, zone: after}
	orig.Tuple, reply.Tuple = s.Tuples()
	for _, a := range []*tuple{&orig, &reply} {
		if !a.Src.IsValid() || !a.Dst.IsValid() {
			return orig, reply, fmt.Errorf("tuple %v: %w: address missing", a.Tuple, pfstate.ErrUnsupported)
		}
		if a.Src.Is4() != a.Dst.Is4() {
			return orig, reply, fmt.Errorf("tuple %v: %w: families differ", a.Tuple, pfstate.ErrUnsupported)
		}
	}
	return orig, reply, nil
}

// find is the entry of a connection, nil if there is none.
func (t *Table) find(orig tuple) *entry {
	if e := t.entries[orig]; e != nil && e.orig == orig {
		return e
	}
	return nil
}

func (t *Table) insert(orig, reply tuple, s *pfstate.State, now time.Time) (*entry, error) {
	switch {
	case t.entries[orig] != nil || t.entries[reply] != nil:
		return nil, pfstate.ErrClash
	case t.config.Limit > 0 && len(t.due) >= t.config.Limit:
		return nil, pfstate.ErrTableFull
	}
	if t.ref++; t.ref == 0 {
		t.ref = 1
	}
	e := &entry{orig: orig, reply: reply, ref: t.ref, state: *s}
	e.state.ID = t.config.ID(&e.state, e.ref)
	e.deadline = now.Add(lifetime(s))
	t.entries[orig], t.entries[reply] = e, e
	heap.Push(&t.due, e)
	return e, nil
}

// update brings an entry to a state, translation included.
func (t *Table) update(e *entry, reply tuple, s *pfstate.State, now time.Time) error {
	if other := t.entries[reply]; other != nil && other != e {
		return pfstate.ErrClash
	}
	delete(t.entries, e.reply)
	e.reply = reply
	t.entries[e.orig], t.entries[reply] = e, e
	id, linux := e.state.ID, e.state.Linux
	linux.Take(&s.Linux)
	e.state = *s
	e.state.ID, e.state.Linux = id, linux
	e.deadline = now.Add(lifetime(s))
	heap.Fix(&t.due, e.place)
	return nil
}

// removeTwins removes the reversed entry of the same connection, as the kernel
// makes it when the responder speaks first, and reports it.
func (t *Table) removeTwins(orig, reply tuple, now time.Time) error {
	if e := t.entries[reply]; e != nil && e.reply == reply {
		return pfstate.ErrClash
	}
	for _, a := range []tuple{orig, reply} {
		if e := t.entries[a]; e != nil {
			t.remove(e)
			t.report(pfstate.Change{Kind: pfstate.Deleted, Ref: e.ref, State: e.at(now)})
		}
	}
	return nil
}

func (t *Table) remove(e *entry) {
	delete(t.entries, e.orig)
	delete(t.entries, e.reply)
	heap.Remove(&t.due, e.place)
}

// lifetime is the time the state says, or what pf gives its class.
func lifetime(s *pfstate.State) time.Duration {
	if s.Expire > 0 {
		return s.Expire
	}
	return s.Timeout.Default()
}
