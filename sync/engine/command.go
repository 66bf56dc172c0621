package engine

import (
	"context"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// StatesFrom calls yield with at most `most` states from the place next on, 0
// being the first, and returns where to go on: 0 when all have been shown. States
// that come and go between two calls may be missed; none is shown twice. The engine
// waits meanwhile: yield must be quick and keep nothing of the state it gets.
func (e *Engine) StatesFrom(next, most int, yield func(*pfstate.State)) (after int, err error) {
	err = e.do(func() {
		var s pfstate.State
		i := max(1, slot(next))
		for ; i < e.states.size && most > 0; i++ {
			if e.states.used(i) {
				e.states.state(i, e.now, &s)
				yield(&s)
				most--
			}
		}
		if i < e.states.size {
			after = int(i)
		}
	})
	return after, err
}

// Kill removes every state that matches from the table, and tells the peers, as
// pfctl -k does. match must be quick and keep nothing of the state it gets.
func (e *Engine) Kill(match func(*pfstate.State) bool) (killed int, err error) {
	err = e.do(func() {
		var s pfstate.State
		e.states.all(func(i slot, r *record) {
			if e.states.state(i, e.now, &s); !match(&s) {
				return
			}
			killed++
			e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
			r.set(carrier)                                           // whoever answers for it: that it ends is our word
			if twin := e.states.twin(i); r.is(shadow) && twin != 0 { // that ends with it
				e.tellEnd(twin, pfstate.Removed)
			} else {
				e.tellEnd(i, pfstate.Removed)
			}
			e.end(i)
		})
		e.push = true
	})
	return killed, err
}

// Clear removes all states from the table, and has the peers clear those that were
// made here, as pfctl -F states does. What a living peer answers for comes back from it.
func (e *Engine) Clear() (cleared int, err error) {
	err = e.do(func() {
		e.states.all(func(i slot, r *record) {
			cleared++
			e.writeState(pfstate.Write{Kind: pfstate.WriteDelete}, i)
			if r.creator == e.cfg.Creator {
				e.graves.bury(r.id(), ended)
			}
			e.states.untwin(i)
			e.tellEnd(i, pfstate.Removed)
			e.forget(i, nil)
		})
		if e.settings.Up && !e.mute(unsent) {
			e.sendAlone(wire.ActClr, func(w *wire.Writer) bool { return w.Clr(wire.Clr{Creator: e.cfg.Creator}) })
		}
	})
	return cleared, err
}

// Settled waits until the table has carried out, or refused, all that it was ordered to do so
// far: what Kill and Clear removed is gone from it then. The engine works on meanwhile.
func (e *Engine) Settled(ctx context.Context) error {
	passed := make(chan struct{})
	err := e.do(func() {
		e.fence(fence{passed: passed})
	})
	if err != nil {
		return err
	}
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.done:
		return ErrStopped
	}
}

// Join gives entries of the table the identity under which the engine shares them: id, creatorid,
// age, interface, and what else a peer said of them that the table does not know. How far a
// connection has come, how long it has left and what it has carried stay the table's word. Entries that
// the filter keeps private get FlagNoSync.
func (e *Engine) Join(part []pfstate.Entry) error {
	return e.do(func() {
		var s pfstate.State
		for j := range part {
			x := &part[j]
			i := e.find(&x.State)
			if i != 0 {
				r := e.states.at(i)
				x.Known = r.origin() == imported || r.id() == x.State.ID // else it is an entry that has gone since
			}
			switch {
			case x.Known:
				e.states.state(i, e.now, &s)
				join(&s, &x.State)
			case e.filter != nil && e.filter.NoSync(&x.State, x.Mark):
				x.State.Flags |= pfstate.FlagNoSync
			}
		}
	})
}

// join writes into s, which is of a record, what the table says in t, and s into t.
func join(s, t *pfstate.State) {
	if s.Direction == pfstate.Out {
		s.Wire, s.Stack = t.Wire, t.Stack
	} else {
		orig, reply := t.Tuples()
		s.SetTuples(orig, reply, t.Stack.RDomain)
		s.Stack.RDomain = t.Wire.RDomain
	}
	s.Src.State, s.Src.WScale = t.Src.State, t.Src.WScale
	s.Dst.State, s.Dst.WScale = t.Dst.State, t.Dst.WScale
	s.Timeout, s.Expire, s.Packets, s.Bytes = t.Timeout, t.Expire, t.Packets, t.Bytes
	*t = *s
}
