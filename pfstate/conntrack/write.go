package conntrack

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/dchest/siphash"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// chunkOrders go to the kernel in one send: more gain nothing (measured).
const chunkOrders = 128

// rounds bounds how often an order is tried while others disturb it.
const rounds = 6

// step is what is to be tried next for an order.
type step uint8

const (
	stepDone step = iota
	stepCreate
	stepLook    // the keys are taken: by whom?
	stepReplace // delete and create
	stepUpdate
	stepUpdateExpected // of an entry that has a master
	stepUpdateBare     // without status
	stepDelete
	stepProbe
)

var firstStep = [...]step{
	pfstate.WriteInsert: stepCreate,
	pfstate.WriteUpdate: stepUpdate,
	pfstate.WriteDelete: stepDelete,
	pfstate.WriteProbe:  stepProbe,
}

var writeCounters = [...]counter{
	pfstate.WriteInsert: writesInsert,
	pfstate.WriteUpdate: writesUpdate,
	pfstate.WriteDelete: writesDelete,
	pfstate.WriteProbe:  writesProbe,
	pfstate.WriteDump:   writesDump,
}

// job is one order on its way.
type job struct {
	w     *pfstate.Write
	im    image
	step  step
	round int
	ref   uint32 // of the entry to replace
	msg   int    // its first message in this round
	found bool   // probe: the entry is there
	at    entry  // probe: as it stands
	err   error
}

// chunk is a run of orders about different connections. It keeps its memory.
type chunk struct {
	jobs    []job
	msgs    []message
	out     []byte
	seq     uint32
	probing bool
	nat     bool
	names   [4 * chunkOrders]uint64 // open hash of the connections in it
}

// carryOut takes orders until ctx ends.
func (t *Table) carryOut(ctx context.Context) error {
	for {
		select {
		case b := <-t.writes:
			if err := t.apply(ctx, b.Items); err != nil {
				return err
			}
			b.Free()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *Table) apply(ctx context.Context, ws []pfstate.Write) error {
	for i := range ws {
		w := &ws[i]
		if w.Kind == pfstate.WriteFence {
			if err := t.flush(ctx); err != nil {
				return err
			}
			if w.Notify && !t.say(ctx, pfstate.Change{Kind: pfstate.Applied, Op: w.Kind}) {
				return ctx.Err()
			}
			continue
		}
		if int(w.Kind) >= len(writeCounters) || w.Kind == 0 {
			t.counts.add(refusedOther, 1)
			err := fmt.Errorf("write of kind %d: %w", w.Kind, pfstate.ErrUnsupported)
			if !t.say(ctx, pfstate.Change{Kind: pfstate.Refused, Op: w.Kind, Ref: w.Ref, State: w.State, Err: err}) {
				return ctx.Err()
			}
			continue
		}
		t.counts.add(writeCounters[w.Kind], 1)
		if w.Kind == pfstate.WriteDump {
			if err := t.flush(ctx); err != nil {
				return err
			}
			select {
			case t.dumpOrder <- struct{}{}:
			default: // one is waiting already: it will show what is there
			}
			if w.Notify && !t.say(ctx, pfstate.Change{Kind: pfstate.Applied, Op: w.Kind}) {
				return ctx.Err()
			}
			continue
		}
		if err := t.enqueue(ctx, w); err != nil {
			return err
		}
	}
	return t.flush(ctx)
}

// enqueue adds an order to the chunk. Orders about one connection never share a
// chunk, so that a later one cannot be overtaken by an earlier that is retried.
func (t *Table) enqueue(ctx context.Context, w *pfstate.Write) error {
	c := &t.chunk
	var im image
	var err error
	if w.Kind == pfstate.WriteInsert || w.Kind == pfstate.WriteUpdate {
		err = t.fill(&im, &w.State)
		im.renew = w.Renew && w.Kind == pfstate.WriteUpdate
		im.timeless = im.renew && w.Loosen
	} else {
		err = im.tuples(&w.State)
	}
	if len(c.jobs) == chunkOrders || err == nil && !c.name(t.connection(&im.orig)) {
		if err := t.flush(ctx); err != nil {
			return err
		}
		if err == nil {
			c.name(t.connection(&im.orig))
		}
	}
	j := job{w: w, im: im, step: firstStep[w.Kind], err: err}
	if err != nil {
		j.step = stepDone
	}
	c.jobs = append(c.jobs, j)
	c.probing = c.probing || w.Kind == pfstate.WriteProbe
	c.nat = c.nat || w.Kind == pfstate.WriteInsert && im.translated()
	return nil
}

// name enters a connection's name, and reports false if it may be there already.
func (c *chunk) name(h uint64) bool {
	h |= 1 // 0 is an empty place
	for i := h >> 1; ; i++ {
		switch p := &c.names[i%uint64(len(c.names))]; *p {
		case 0:
			*p = h
			return true
		case h:
			return false
		}
	}
}

func (t *Table) connection(orig *tuple) uint64 {
	var b [39]byte
	orig.appendKey(b[:0])
	return siphash.Hash(t.k0, t.k1, b[:])
}

// flush carries out the chunk and reports how it went.
func (t *Table) flush(ctx context.Context) error {
	c := &t.chunk
	if len(c.jobs) == 0 {
		return ctx.Err()
	}
	if c.nat {
		t.checkNATHooks()
	}
	if c.probing {
		t.out.watch(1)
		defer t.out.watch(-1)
	}
	for t.round() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b := t.changes.Take()
	for i := range c.jobs {
		t.answer(b, &c.jobs[i])
	}
	c.jobs = c.jobs[:0]
	c.probing, c.nat = false, false
	clear(c.names[:])
	if !t.out.send(ctx, b) {
		return ctx.Err()
	}
	return nil
}

// answer appends what is to be said of a finished order.
func (t *Table) answer(b *pfstate.Batch[pfstate.Change], j *job) {
	w := j.w
	if j.err != nil {
		t.counts.add(refusal(j.err), 1)
		*extend(b) = pfstate.Change{Kind: pfstate.Refused, Op: w.Kind, Ref: w.Ref, State: w.State, Err: j.err}
		return
	}
	if w.Kind == pfstate.WriteProbe {
		c := extend(b)
		if j.found && t.see(c, &j.at, time.Now().UnixNano()) {
			c.Op, c.Probe = pfstate.WriteProbe, w.Probe
		} else {
			*c = pfstate.Change{Kind: pfstate.Absent, Op: w.Kind, Ref: w.Ref, Probe: w.Probe, State: w.State}
		}
	}
	if w.Notify {
		*extend(b) = pfstate.Change{Kind: pfstate.Applied, Op: w.Kind, Ref: w.Ref, State: w.State}
	}
}

func refusal(err error) counter {
	switch {
	case errors.Is(err, pfstate.ErrTableFull):
		return refusedFull
	case errors.Is(err, pfstate.ErrClash):
		return refusedClash
	case errors.Is(err, pfstate.ErrNoState):
		return refusedNoState
	case errors.Is(err, pfstate.ErrUnsupported):
		return refusedUnsupported
	}
	return refusedOther
}

// refusedBy tells what an errno of the kernel means for a state.
func refusedBy(errno syscall.Errno) error {
	switch errno {
	case unix.ENOMEM, unix.ENOSPC: // entries in use are never thrown out for new ones; a hash chain has a limit too
		return pfstate.ErrTableFull
	case unix.EEXIST:
		return pfstate.ErrClash
	case unix.ENOENT:
		return pfstate.ErrNoState
	case unix.EINVAL, unix.EOPNOTSUPP, unix.ERANGE, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT:
		return fmt.Errorf("%w: %w", pfstate.ErrUnsupported, errno)
	case unix.EPERM:
		return fmt.Errorf("conntrack: %w: the entry's timeout is fixed (IPS_FIXED_TIMEOUT), or CAP_NET_ADMIN is missing", errno)
	}
	return fmt.Errorf("conntrack: %w", errno)
}
