package conntrack

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// errNoAnswer: the answers to a send overflowed our receive buffer.
var errNoAnswer = errors.New("conntrack: the kernel's answer was lost; whether the write was carried out is unknown")

// message is one netlink message of a round and what the kernel said to it.
type message struct {
	errno    syscall.Errno
	lost     bool
	answered bool
	found    bool
	entry    entry // when found
}

// round sends the next step of every unfinished order in one go and judges the
// answers. It reports whether another round is needed.
func (t *Table) round() bool {
	c := &t.chunk
	c.out, c.msgs = c.out[:0], c.msgs[:0]
	last := 0
	for i := range c.jobs {
		j := &c.jobs[i]
		if j.step != stepDone {
			last = t.encode(j, last)
		}
	}
	if len(c.msgs) == 0 {
		return false
	}
	nfattr.AddFlags(c.out, last, unix.NLM_F_ACK)
	failed := t.exchange()
	again := false
	for i := range c.jobs {
		j := &c.jobs[i]
		if j.step == stepDone {
			continue
		}
		if failed != nil {
			j.fail(failed)
			continue
		}
		t.judge(j)
		if j.round++; j.step != stepDone && j.round == rounds {
			j.fail(pfstate.ErrClash)
		}
		again = again || j.step != stepDone
	}
	return again
}

func (j *job) fail(err error) { j.step, j.err = stepDone, err }

// encode appends the messages of the job's step, and returns where the last one begins.
func (t *Table) encode(j *job, last int) int {
	c := &t.chunk
	j.msg = len(c.msgs)
	add := func(b []byte, err error) {
		if err != nil { // tuples were checked when the order came in
			j.fail(err)
			return
		}
		last = len(c.out)
		c.out = b
		if len(c.msgs) < cap(c.msgs) {
			c.msgs = c.msgs[:len(c.msgs)+1]
			m := &c.msgs[len(c.msgs)-1]
			m.errno, m.lost, m.answered, m.found = 0, false, false, false
		} else {
			c.msgs = append(c.msgs, message{})
		}
	}
	im := &j.im
	seq := func() uint32 { return c.seq + uint32(len(c.msgs)) }
	switch j.step {
	case stepCreate:
		add(appendCreate(c.out, seq(), im))
	case stepReplace:
		add(appendDelete(c.out, seq(), &im.orig, &im.reply, j.ref))
		add(appendCreate(c.out, seq(), im))
	case stepUpdate:
		add(appendUpdate(c.out, seq(), im, im.status))
	case stepUpdateExpected:
		add(appendUpdate(c.out, seq(), im, im.status|statusExpected))
	case stepUpdateBare:
		add(appendUpdate(c.out, seq(), im, 0))
	case stepDelete:
		add(appendDelete(c.out, seq(), &im.orig, &im.reply, j.w.Ref))
	case stepProbe:
		add(appendGet(c.out, seq(), &im.orig, &im.reply))
	case stepLook:
		add(appendGet(c.out, seq(), &im.orig, &im.reply))
		add(appendGet(c.out, seq(), &im.reply, &im.orig))
	}
	return last
}

// exchange sends what is encoded and collects the answers. The kernel carries
// messages out before send returns, so whatever it has to say is there then.
func (t *Table) exchange() error {
	c := &t.chunk
	first := c.seq
	c.seq += uint32(len(c.msgs))
	if err := t.writer.send(c.out); err != nil {
		return err
	}
	if err := t.writer.pollAll(func(d []byte) { t.collect(d, first) }); err != nil {
		return err
	}
	if c.msgs[len(c.msgs)-1].answered {
		return nil
	}
	for i := range c.msgs {
		m := &c.msgs[i]
		m.lost = !m.answered
	}
	return nil
}

// collect notes the answers in one datagram.
func (t *Table) collect(rest []byte, first uint32) {
	c := &t.chunk
	for len(rest) > 0 {
		h, payload, next, err := nfattr.ParseMessage(rest)
		if err != nil {
			t.counts.add(malformed, 1)
			return
		}
		rest = next
		i := h.Seq - first
		if i >= uint32(len(c.msgs)) {
			continue // of a send whose answers came too late
		}
		m := &c.msgs[i]
		switch h.Type {
		case unix.NLMSG_ERROR:
			m.answered, m.errno = true, messageErrno(payload)
		case msgNew:
			if err := parseEntry(payload, &m.entry); err != nil {
				t.counts.add(malformed, 1)
				continue
			}
			m.answered, m.found = true, true
		}
	}
}

// judge reads the kernel's answer to a step and decides on the next.
func (t *Table) judge(j *job) {
	c := &t.chunk
	m := &c.msgs[j.msg]
	if m.lost {
		j.fail(errNoAnswer)
		return
	}
	switch j.step {
	case stepReplace:
		m = &c.msgs[j.msg+1] // what became of the delete shows there
		if m.lost {
			j.fail(errNoAnswer)
			return
		}
		fallthrough
	case stepCreate:
		if m.errno == unix.EEXIST {
			j.step = stepLook
			return
		}
		if j.im.giveUp(m.errno, j.round) {
			t.counts.add(beyondRefused, 1)
			return
		}
	case stepUpdate, stepUpdateExpected, stepUpdateBare:
		switch {
		case m.errno == unix.EBUSY && j.step == stepUpdate:
			j.step = stepUpdateExpected // the kernel takes that bit for ours to change
			return
		case m.errno == unix.EBUSY && j.step == stepUpdateExpected:
			j.step = stepUpdateBare // it is assured or answered already, we are not to take that back
			return
		case m.errno == unix.ENOENT && j.w.Kind == pfstate.WriteInsert:
			j.step = stepCreate // gone since we looked
			return
		case m.errno != unix.ENOENT && j.im.giveUp(m.errno, j.round):
			t.counts.add(beyondRefused, 1)
			return
		}
	case stepDelete, stepProbe:
		if m.errno == unix.ENOENT {
			m.errno = 0
		}
		if j.found = m.found && m.entry.orig == j.im.orig; j.found {
			j.at = m.entry
		}
	case stepLook:
		t.settle(j, &c.msgs[j.msg], &c.msgs[j.msg+1])
		return
	}
	j.step = stepDone
	if m.errno != 0 {
		j.err = refusedBy(m.errno)
	}
}
