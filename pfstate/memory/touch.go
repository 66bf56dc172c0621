package memory

import (
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Touch is a packet that moves nothing on but the timeout, to s.Expire from now.
// Like the kernel the table does not report it. ErrNoState if the connection is not there.
func (t *Table) Touch(s pfstate.State) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.poke()
	orig, _, err := tuples(&s)
	if err != nil {
		return err
	}
	e := t.find(orig)
	if e == nil {
		return pfstate.ErrNoState
	}
	same := e.state
	same.Expire = s.Expire
	t.traffic = true
	return t.update(e, e.reply, &same, time.Now())
}
