package conntrack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// errOverrun is the Err of an Overrun.
var errOverrun = fmt.Errorf("conntrack events: %w: read too slowly", unix.ENOBUFS)

// readEvents turns what the kernel tells into changes until ctx ends.
//
// After an overrun the kernel drops every event until the queue has been read to
// its end, without another error (af_netlink.c, NETLINK_S_CONGESTED). So Overrun
// is said only then: a dump that was begun before could miss something.
func (t *Table) readEvents(ctx context.Context) error {
	overrun := false
	for {
		read := t.events.receive
		if overrun {
			read = t.events.poll
		}
		n, err := read()
		b := t.changes.Take()
		switch {
		case err == nil:
			t.parseAll(b, n)
			if overrun && n < len(t.events.slots) {
				overrun = false
				*extend(b) = pfstate.Change{Kind: pfstate.Overrun, Err: errOverrun}
			}
		case errors.Is(err, unix.ENOBUFS):
			t.counts.add(overruns, 1)
			overrun = true
		default:
			b.Free()
			return ended(ctx, fmt.Errorf("events: %w", err))
		}
		if !t.out.send(ctx, b) {
			return ctx.Err()
		}
	}
}

// parseAll appends the changes in the n datagrams just read to b.
func (t *Table) parseAll(b *pfstate.Batch[pfstate.Change], n int) {
	now := time.Now().UnixNano() // once per batch
	for i := range n {
		d, cut := t.events.datagram(i)
		if cut {
			t.counts.add(malformed, 1)
			continue
		}
		t.parseEvents(b, d, now)
	}
}

// parseEvents appends the changes in one datagram to b.
func (t *Table) parseEvents(b *pfstate.Batch[pfstate.Change], rest []byte, now int64) {
	for len(rest) > 0 {
		h, payload, next, err := nfattr.ParseMessage(rest)
		if err != nil {
			t.counts.add(malformed, 1)
			return
		}
		rest = next
		if h.Type != msgNew && h.Type != msgDelete {
			continue
		}
		if h.Port == t.writer.port {
			t.counts.add(eventsOwn, 1)
			continue
		}
		c := extend(b)
		if !t.read(c, &h, payload, now) {
			b.Items = b.Items[:len(b.Items)-1]
		}
	}
}

// read makes an event message a change; false: it is none, which is counted.
func (t *Table) read(c *pfstate.Change, h *nfattr.Header, payload []byte, now int64) bool {
	var e entry
	if err := parseEntry(payload, &e); err != nil {
		t.counts.add(malformed, 1)
		return false
	}
	if reason, ignored := e.ignored(); ignored {
		t.counts.add(reason, 1)
		return false
	}
	c.Op, c.Expired, c.Injected, c.Mute, c.Mark, c.Ref, c.Err = 0, false, false, false, e.mark, e.id, nil
	switch {
	case h.Type == msgDelete:
		c.Kind = pfstate.Deleted
		// Timers have no port id and nothing left to say of the timeout.
		c.Expired = h.Port == 0 && !e.hasTimeout
		if c.Expired {
			t.counts.add(eventsExpired, 1)
		} else {
			t.counts.add(eventsDestroy, 1)
		}
	case h.Flags&unix.NLM_F_CREATE != 0:
		c.Kind, c.Injected = pfstate.Created, e.injected
		t.counts.add(eventsNew, 1)
	default:
		c.Kind = pfstate.Updated
		t.counts.add(eventsUpdate, 1)
	}
	t.export(&e, &c.State, now)
	return true
}

// see makes an entry of a dump or an answer a Seen; false: it is none, which is counted.
func (t *Table) see(c *pfstate.Change, e *entry, now int64) bool {
	if reason, ignored := e.ignored(); ignored {
		t.counts.add(reason, 1)
		return false
	}
	*c = pfstate.Change{Kind: pfstate.Seen, Injected: e.injected, Mark: e.mark, Ref: e.id}
	t.export(e, &c.State, now)
	return true
}
