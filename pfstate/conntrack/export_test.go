package conntrack

import (
	"fmt"
	"syscall"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Codec is the pure half of a Table: no sockets.
type Codec struct{ t Table }

func NewCodec(key [16]byte, creator uint32) *Codec {
	c := &Codec{Table{mapping: newMapping(key, creator)}}
	for i, row := range classTable {
		c.t.timeouts[i] = row.seconds
	}
	return c
}

// Own makes events with this port id our own.
func (c *Codec) Own(port uint32) { c.t.writer = &socket{port: port} }

// Events appends the changes in one datagram of events to b.
func (c *Codec) Events(b *pfstate.Batch[pfstate.Change], datagram []byte, now int64) {
	c.t.parseEvents(b, datagram, now)
}

// Queued reads the connection of a packet in a queue.
func (c *Codec) Queued(attrs []byte, to *pfstate.Change) (confirmed, ok bool) {
	return c.t.Queued(attrs, to)
}

// Dump appends the entries in one datagram of the dump seq to b.
func (c *Codec) Dump(b *pfstate.Batch[pfstate.Change], datagram []byte, seq uint32, now int64) (end bool, err error) {
	return c.t.dumped(b, datagram, seq, now)
}

// Answer says what one datagram answers to a message with number 0.
func (c *Codec) Answer(datagram []byte) string {
	c.t.chunk.msgs = make([]message, 1)
	c.t.collect(datagram, 0)
	m := &c.t.chunk.msgs[0]
	return fmt.Sprintf("answered=%v errno=%d found=%v %v", m.answered, m.errno, m.found, m.entry.orig.Tuple)
}

func (c *Codec) Counters() []pfstate.Counter { return c.t.Counters() }

func (c *Codec) AppendInsert(b []byte, s *pfstate.State) ([]byte, error) {
	var im image
	if err := c.t.fill(&im, s); err != nil {
		return b, err
	}
	return appendCreate(b, 1, &im)
}

func (c *Codec) AppendUpdate(b []byte, s *pfstate.State) ([]byte, error) {
	var im image
	if err := c.t.fill(&im, s); err != nil {
		return b, err
	}
	return appendUpdate(b, 1, &im, im.status)
}

// AppendDelete does not check the state before the encoder does.
func (c *Codec) AppendDelete(b []byte, s *pfstate.State, ref uint32) ([]byte, error) {
	var im image
	_ = im.tuples(s)
	return appendDelete(b, 1, &im.orig, &im.reply, ref)
}

func RefusedBy(errno syscall.Errno) error { return refusedBy(errno) }

// Forwarded is the watch over forwarded packets.
type Forwarded struct{ f forwarded }

// OpenForwarded must run on a thread that is in the namespace.
func OpenForwarded() (*Forwarded, error) {
	var f Forwarded
	return &f, f.f.open()
}

func (f *Forwarded) Moved() (bool, error) { return f.f.moved() }
func (f *Forwarded) Close() error         { return f.f.close() }

func IP4Forwarded(text []byte) (uint64, bool) { return ip4Forwarded(text) }
func IP6Forwarded(text []byte) (uint64, bool) { return ip6Forwarded(text) }

// LeaveDump begins a dump that nobody reads.
func LeaveDump(t *Table) error { return t.dumper.send(appendDump(nil, 1<<31)) }

// BreakEvents and BreakDumper close a socket under a running table.
func BreakEvents(t *Table) error { return t.events.close() }
func BreakDumper(t *Table) error { return t.dumper.close() }
