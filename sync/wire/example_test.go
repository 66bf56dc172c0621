package wire_test

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

// Write a packet and read it again.
func Example() {
	var w wire.Writer
	w.Reset(1480) // MTU 1500 less the IP header
	w.ID(wire.ActDelC, pfstate.ID{State: 0x101, Creator: 0xc0ffee01})
	w.ID(wire.ActDelC, pfstate.ID{State: 0x202, Creator: 0xc0ffee01})
	w.Bus(wire.Bus{Creator: 0xc0ffee01, Status: wire.BusEnd})
	packet := w.Finish()

	h, rest, err := wire.ParseHeader(packet)
	if err != nil {
		fmt.Println(err)
		return
	}
	for len(rest) >= wire.SubheaderLen {
		var s wire.Section
		if s, rest, err = h.NextSection(rest); err != nil {
			fmt.Println(err)
			return
		}
		for i := range s.Count {
			switch s.Action {
			case wire.ActDelC:
				id, _ := wire.ParseID(s.Message(i))
				fmt.Println(s.Action, id)
			case wire.ActBus:
				bus, _ := wire.ParseBus(s.Message(i))
				fmt.Println(s.Action, bus.Status)
			}
		}
	}
	// Output:
	// DEL ST COMP 0000000000000101/c0ffee01
	// DEL ST COMP 0000000000000202/c0ffee01
	// BULK UPD STAT end
}
