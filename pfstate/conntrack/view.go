package conntrack

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// Entries yields every entry of the kernel's table, in parts of some hundred, also those
// that the engine is told nothing of: they have FlagNoSync. It works on a socket of its
// own, beside all else, and reads on only when yield returns, so a table of any size takes
// the same little memory. What comes and goes meanwhile may be missing; an entry may come
// twice when its neighbour is removed. yield keeps nothing of a part. An error of yield, or
// ctx, ends it.
func (t *Table) Entries(ctx context.Context, yield func([]pfstate.Entry) error) error {
	s, err := t.home.dial(viewReads, viewDatagram)
	if err != nil {
		return fmt.Errorf("conntrack: %w", err)
	}
	defer s.close()
	stop := context.AfterFunc(ctx, s.interrupt)
	defer stop()
	if err := s.send(appendDump(nil, 1)); err != nil {
		return fmt.Errorf("conntrack: dump: %w", err)
	}
	v := view{mapping: &t.mapping}
	for !v.done {
		n, err := s.receive()
		if err != nil {
			return fmt.Errorf("conntrack: dump: %w", ended(ctx, err))
		}
		v.now, v.part = time.Now().UnixNano(), v.part[:0]
		for i := range n {
			d, cut := s.datagram(i)
			if cut {
				return fmt.Errorf("conntrack: dump: %w: message does not fit", nfattr.ErrMalformed)
			}
			if err := v.read(d); err != nil {
				return fmt.Errorf("conntrack: %w", err)
			}
		}
		if err := yield(v.part); err != nil {
			return err
		}
	}
	return nil
}

// The kernel puts no more into a datagram of a dump, some hundred entries.
const (
	viewDatagram = 32 << 10
	viewReads    = 8
)

// view is a dump on its way to somebody who looks.
type view struct {
	*mapping
	now  int64
	part []pfstate.Entry
	done bool
}

// read appends the entries in one datagram to the part.
func (v *view) read(rest []byte) error {
	var e entry
	for len(rest) > 0 {
		h, payload, next, err := nfattr.ParseMessage(rest)
		if err != nil {
			return fmt.Errorf("dump: %w", err)
		}
		rest = next
		if h.Flags&unix.NLM_F_DUMP_INTR != 0 {
			return errInterrupted
		}
		switch h.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if errno := messageErrno(payload); errno != 0 {
				return fmt.Errorf("dump: %w", errno)
			}
			v.done = true
			return nil
		case msgNew:
			if err := parseEntry(payload, &e); err != nil {
				return fmt.Errorf("dump: %w", err)
			}
			v.add(&e)
		}
	}
	return nil
}

func (v *view) add(e *entry) {
	reason, ignored := e.ignored()
	if ignored && (reason == ignoredUnconfirmed || reason == ignoredUnknown) {
		return // not of the table yet, or not to be put into words
	}
	if n := len(v.part); n < cap(v.part) {
		v.part = v.part[:n+1]
	} else {
		v.part = append(v.part, pfstate.Entry{})
	}
	one := &v.part[len(v.part)-1]
	one.Ref, one.Mark, one.Known = e.id, e.mark, false
	v.export(e, &one.State, v.now)
	if ignored {
		one.State.Flags |= pfstate.FlagNoSync
	}
}

// Remove removes entries that Entries has shown, unless they have gone or have successors
// meanwhile, and tells how many it removed. The engine hears of it as of any removal that is
// not its own. Entries that could not be removed are in the error; the others are removed
// all the same.
func (t *Table) Remove(entries []pfstate.Entry) (removed int, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	s, err := t.home.dial(64, 4<<10)
	if err != nil {
		return 0, fmt.Errorf("conntrack: %w", err)
	}
	defer s.close()
	r := remover{socket: s}
	var failed error
	for len(entries) > 0 {
		n := min(len(entries), chunkOrders)
		if err := r.remove(entries[:n]); err != nil {
			failed = errors.Join(failed, err)
		}
		entries = entries[n:]
	}
	if failed != nil {
		failed = fmt.Errorf("conntrack: %w", failed)
	}
	return r.removed, failed
}

// remover removes entries, some at a time.
type remover struct {
	*socket
	out     []byte
	seq     uint32
	removed int
}

// remove sends one round of deletes, and reads what the kernel says to each.
func (r *remover) remove(entries []pfstate.Entry) (failed error) {
	r.out = r.out[:0]
	first, sent := r.seq, 0
	for i := range entries {
		var im image
		err := im.tuples(&entries[i].State)
		at := len(r.out)
		if err == nil {
			r.out, err = appendDelete(r.out, r.seq, &im.orig, &im.reply, entries[i].Ref)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		nfattr.AddFlags(r.out, at, unix.NLM_F_ACK)
		r.seq++
		sent++
	}
	if sent == 0 {
		return failed
	}
	if err := r.send(r.out); err != nil {
		return errors.Join(failed, err)
	}
	answered := 0
	err := r.pollAll(func(d []byte) {
		for len(d) > 0 {
			h, payload, next, err := nfattr.ParseMessage(d)
			if err != nil {
				failed = errors.Join(failed, err)
				return
			}
			d = next
			if h.Type != unix.NLMSG_ERROR || h.Seq-first >= uint32(sent) {
				continue
			}
			answered++
			switch errno := messageErrno(payload); errno {
			case 0:
				r.removed++
			case syscall.ENOENT:
			default:
				failed = errors.Join(failed, fmt.Errorf("delete: %w", refusedBy(errno)))
			}
		}
	})
	if err == nil && answered < sent {
		err = errNoAnswer
	}
	return errors.Join(failed, err)
}
