package conntrack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/nftables"
)

// muteChain is an empty chain of ours, on no hook, that reminds the next daemon of
// entries whose changes nobody hears: it finds the sysctl at 1 already. It goes
// with the kernel's table: both are gone after a reboot.
const muteChain = "mute"

// tellAll has events made for every entry from now on, and finds out whether there
// are older ones that may lack them. It runs in the table's namespace, after the
// event socket has joined its groups.
func (t *Table) tellAll() error {
	events, err := readSysctl(sysctlEvents)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no such sysctl; the kernel lacks CONFIG_NF_CONNTRACK_EVENTS or the module nf_conntrack", sysctlEvents)
	}
	if err == nil && events != 1 { // it may be read-only, in a container
		err = os.WriteFile(sysctlEvents, []byte("1"), 0)
	}
	if err != nil {
		return err
	}
	// After the write: an entry that is not counted yet will tell.
	entries, err := readSysctl(sysctlCount)
	if err != nil {
		return err
	}
	t.empty = entries == 0
	t.mute = events != 1 && !t.empty
	return nil
}

// rememberMute reads and writes the reminder.
func (t *Table) rememberMute() {
	chain := &nftables.Chain{Name: muteChain, Table: hooksTable()} // no hook: no packet comes here
	_, err := t.nft.ListChain(hooksTable(), muteChain)
	switch {
	case t.mute:
		t.nft.AddChain(chain)
		err = t.nft.Flush()
	case err != nil: // no reminder
		return
	case t.empty:
		t.nft.DelChain(chain)
		err = t.nft.Flush()
	default:
		t.mute = true
	}
	if err != nil {
		t.log.Warn("cannot keep in mind that entries are mute: a daemon started later will not know", "table", natTable, "err", err)
	}
}
