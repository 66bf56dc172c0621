package engine

import (
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/link"
)

// Table is the state table that is kept in sync: pfstate/conntrack or pfstate/memory.
type Table interface {
	Changes() <-chan *pfstate.Batch[pfstate.Change]
	// Writes takes orders; the table frees a batch when it has carried it out.
	Writes() chan<- *pfstate.Batch[pfstate.Write]
}

// Link is the sync link. Send never blocks; it says how many payloads went out.
type Link interface {
	Received() <-chan *pfstate.Batch[link.Packet]
	Statuses() <-chan link.Status
	Send(payloads [][]byte) (sent int, err error)
}

// Tap is pfsync0: it is shown every packet that the engine makes. It must not
// block or keep payloads.
type Tap interface {
	Show(payloads [][]byte)
}
