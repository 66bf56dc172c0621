package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// errInterrupted: the kernel's table changed its shape under the dump.
var errInterrupted = errors.New("dump interrupted by a resize of the table; some states may be missing")

// readDumps dumps whenever it is told to, beside events and writes.
func (t *Table) readDumps(ctx context.Context) error {
	for seq := uint32(1); ; seq++ {
		select {
		case <-t.dumpOrder:
		case <-ctx.Done():
			return ctx.Err()
		}
		t.out.watch(1)
		err := t.dump(ctx, seq)
		t.out.watch(-1)
		if err != nil {
			return err
		}
	}
}

// dump reports the whole table. Its error is one of ctx or the socket; a dump
// that went wrong says so in DumpEnd.
func (t *Table) dump(ctx context.Context, seq uint32) error {
	t.counts.add(dumps, 1)
	if !t.say(ctx, pfstate.Change{Kind: pfstate.DumpBegin, Mute: t.mute}) {
		return ctx.Err()
	}
	failed := t.dumper.drain() // of a dump before that ended early: the kernel does one at a time
	if failed == nil {
		failed = t.dumper.send(appendDump(nil, seq))
	}
	for done := failed != nil; !done; {
		n, err := t.dumper.receive()
		switch {
		case err == nil:
		case interrupted(err):
			return ended(ctx, fmt.Errorf("dump: %w", err))
		default:
			failed, done = fmt.Errorf("dump: %w", err), true
			continue
		}
		b := t.changes.Take()
		now := time.Now().UnixNano()
		for i := range n {
			d, cut := t.dumper.datagram(i)
			if cut {
				failed = fmt.Errorf("dump: %w: message does not fit", nfattr.ErrMalformed)
			}
			end, err := t.dumped(b, d, seq, now)
			done = done || end
			if err != nil {
				failed = err
			}
		}
		t.counts.add(dumped, len(b.Items))
		if !t.out.send(ctx, b) {
			return ctx.Err()
		}
	}
	if failed != nil {
		t.counts.add(dumpsIncomplete, 1)
	}
	if !t.say(ctx, pfstate.Change{Kind: pfstate.DumpEnd, Err: failed}) {
		return ctx.Err()
	}
	return nil
}

// dumped appends the entries of one datagram of the dump seq; end: it was the last.
func (t *Table) dumped(b *pfstate.Batch[pfstate.Change], rest []byte, seq uint32, now int64) (end bool, failed error) {
	var e entry
	for len(rest) > 0 {
		h, payload, next, err := nfattr.ParseMessage(rest)
		if err != nil {
			t.counts.add(malformed, 1)
			return false, fmt.Errorf("dump: %w", err)
		}
		rest = next
		if h.Seq != seq { // of a dump that failed
			continue
		}
		if h.Flags&unix.NLM_F_DUMP_INTR != 0 {
			failed = errInterrupted
		}
		switch h.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if errno := messageErrno(payload); errno != 0 {
				failed = fmt.Errorf("dump: %w", errno)
			}
			return true, failed
		case msgNew:
			if err := parseEntry(payload, &e); err != nil {
				t.counts.add(malformed, 1)
				continue
			}
			if c := extend(b); !t.see(c, &e, now) {
				b.Items = b.Items[:len(b.Items)-1]
			}
		}
	}
	return false, failed
}

// messageErrno is the error in an NLMSG_ERROR or NLMSG_DONE, 0: none.
func messageErrno(payload []byte) syscall.Errno {
	if len(payload) < 4 {
		return 0
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(payload)))
}

// say reports a single change.
func (t *Table) say(ctx context.Context, c pfstate.Change) bool {
	b := t.changes.Take()
	*extend(b) = c
	return t.out.send(ctx, b)
}
