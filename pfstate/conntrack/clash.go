package conntrack

import (
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/pfstate/conntrack/nfattr"
)

// settle decides what to do about an insert whose keys are taken. byOrig and
// byReply are the entries that the kernel found under either tuple, in either
// direction.
//
//	found                                          then
//	same original tuple, same translation          update it
//	other original tuple, our reply tuple          ErrClash: the local NAT gave that port away
//	same original tuple, other translation         delete it, create
//	the same connection reversed: picked up in     delete it and say so, create
//	the middle, when the responder spoke first
//	nothing: gone since                            create
func (t *Table) settle(j *job, byOrig, byReply *message) {
	if byReply.lost {
		j.fail(errNoAnswer)
		return
	}
	im := &j.im
	same := byOrig.found && byOrig.entry.orig == im.orig
	switch {
	case same && byOrig.entry.reply == im.reply:
		t.counts.add(existing, 1)
		j.step = stepUpdate
		return
	case byReply.found && byReply.entry.reply == im.reply:
		j.fail(pfstate.ErrClash)
		return
	}
	j.step = stepCreate
	if same {
		t.counts.add(retranslated, 1)
		j.step, j.ref = stepReplace, byOrig.entry.id
	} else if byOrig.found {
		t.remove(&byOrig.entry)
	}
	if byReply.found && (!byOrig.found || byReply.entry.id != byOrig.entry.id) {
		t.remove(&byReply.entry)
	}
}

// remove deletes a reversed twin through a socket whose echo is reported as any
// other program's would be: as Deleted, in its place among the events.
func (t *Table) remove(e *entry) {
	t.counts.add(twins, 1)
	b, err := appendDelete(nil, 1, &e.orig, &e.reply, e.id)
	if err == nil {
		nfattr.AddFlags(b, 0, unix.NLM_F_ACK)
		err = t.evict.send(b)
	}
	if err == nil {
		err = t.evict.drain() // a twin that is gone already is as good
	}
	if err != nil {
		t.log.Warn("cannot remove the reversed entry of a connection", "entry", e.orig.String(), "err", err)
	}
}
