package engine

import (
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
			r.carrier = true // whoever answers for it: that it ends is our word
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
			if r.id.Creator == e.cfg.Creator {
				e.graves.bury(r.id, ended)
			}
			e.states.untwin(i)
			e.forget(i, nil)
		})
		if e.settings.Up {
			e.sendAlone(wire.ActClr, func(w *wire.Writer) bool { return w.Clr(wire.Clr{Creator: e.cfg.Creator}) })
		}
	})
	return cleared, err
}
