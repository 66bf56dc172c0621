package node

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

const (
	// statesPart is how many states are looked at between two turns of the engine.
	statesPart = 1000

	// killBound is how long the table may take to remove what is killed. The kernel
	// removes some hundred thousand a second.
	killBound = 25 * time.Second
)

var errBusy = fmt.Errorf("the state table has not carried it out within %v; it still may", killBound)

// Yield is the control.Node's: what carp does by itself, for who moves addresses without it.
func (n *Node) Yield() error { return n.engine.Yield() }

// States is the control.Node's. What is shown is the table, not what the engine knows of it.
func (n *Node) States(ctx context.Context, yield func([]pfstate.State) error) error {
	var part []pfstate.State
	if n.cfg.Whole != nil {
		return n.entries(ctx, func(entries []pfstate.Entry) error {
			part = part[:0]
			for i := range entries {
				part = append(part, entries[i].State)
			}
			return yield(part)
		})
	}
	for next := 0; ; {
		part = part[:0]
		var err error
		next, err = n.engine.StatesFrom(next, statesPart, func(s *pfstate.State) { part = append(part, *s) })
		if err == nil {
			err = yield(part)
		}
		if err != nil || next == 0 {
			return err
		}
	}
}

// entries yields all of the table, under the names that the engine has for its states.
func (n *Node) entries(ctx context.Context, yield func([]pfstate.Entry) error) error {
	return n.cfg.Whole.Entries(ctx, func(part []pfstate.Entry) error {
		if err := n.engine.Join(part); err != nil {
			return err
		}
		return yield(part)
	})
}

// Kill is the control.Node's.
func (n *Node) Kill(k control.Kill) (control.Killed, error) {
	if err := k.Validate(); err != nil {
		return control.Killed{}, err
	}
	n.mu.Lock()
	rules := n.rules.Ruleset // enabled or not: that says what is shared
	n.mu.Unlock()
	match, err := k.Matcher(&rules)
	if err != nil {
		return control.Killed{}, err
	}
	killed, err := n.remove(func() (int, error) { return n.engine.Kill(match) }, match)
	if killed > 0 {
		n.log.Info("states killed by an operator", "states", killed)
	}
	return control.Killed{States: killed}, err
}

// Flush is the control.Node's.
func (n *Node) Flush() (control.Killed, error) {
	cleared, err := n.remove(n.engine.Clear, func(*pfstate.State) bool { return true })
	if err == nil || cleared > 0 {
		n.log.Info("states cleared by an operator", "states", cleared)
	}
	return control.Killed{States: cleared}, err
}

// remove has the engine remove what it knows, waits until the table has done so, and removes what
// the engine did not know: states that are not shared, of which no peer hears, and those of which it had
// not heard yet, whose ends it hears of and tells.
func (n *Node) remove(shared func() (int, error), match func(*pfstate.State) bool) (removed int, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), killBound, errBusy)
	defer cancel()
	if removed, err = shared(); err != nil {
		return 0, err
	}
	if err := n.engine.Settled(ctx); err != nil {
		return removed, err
	}
	if n.cfg.Whole == nil {
		return removed, nil
	}
	var doomed []pfstate.Entry
	var failed error
	err = n.entries(ctx, func(part []pfstate.Entry) error {
		doomed = doomed[:0]
		for i := range part {
			s := &part[i].State
			if part[i].Known && s.ID.Creator != n.cfg.Identity.Creator {
				continue // a peer has told of it since: it answers for it
			}
			if match(s) {
				doomed = append(doomed, part[i])
			}
		}
		more, err := n.cfg.Whole.Remove(doomed)
		removed += more
		if err != nil && failed == nil { // one is enough to read
			failed = err
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return removed, errors.Join(failed, err)
}

// Info is the control.Node's.
func (n *Node) Info() (control.Info, error) {
	n.mu.Lock()
	info := control.Info{
		Enabled: n.rules.Enabled, Since: ifconfig.Seconds(time.Since(n.rules.since)),
		Creator:  ifconfig.CreatorID(n.cfg.Identity.Creator),
		Checksum: fmt.Sprintf("%x", md5.Sum([]byte(n.rules.Ruleset.String()))),
	}
	n.mu.Unlock()
	for c := range pfstate.MaxTimeout {
		info.Timeouts = append(info.Timeouts, control.Timeout{Name: c.String(), Value: ifconfig.Seconds(n.timeout(c))})
	}
	count := func(s *pfstate.State) {
		info.States++
		if s.Proto == pfstate.ProtoTCP && min(s.Src.State, s.Dst.State) < pfstate.TCPEstablished &&
			max(s.Src.State, s.Dst.State) <= pfstate.TCPEstablished {
			info.HalfOpen++
		}
	}
	for next := 0; ; {
		var err error
		if next, err = n.engine.StatesFrom(next, statesPart, count); err != nil {
			return info, err
		}
		if next == 0 {
			break
		}
	}
	if n.cfg.TableUse != nil {
		entries, limit, err := n.cfg.TableUse()
		if err != nil {
			return info, fmt.Errorf("state table: %w", err)
		}
		info.States, info.Limit = entries, limit
	}
	return info, nil
}
