package traffic

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// headerLen is the length of a message's header: its length, the flow, and a number
// that grows by one with each message of the flow.
const headerLen = 16

// fill makes b the n-th message of a flow: header, then bytes that depend on both.
func fill(b []byte, id uint32, n uint64) {
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[4:], id)
	binary.BigEndian.PutUint64(b[8:], n)
	seed := byte(n) + byte(id)*31
	for i := headerLen; i < len(b); i++ {
		b[i] = seed + byte(i) + byte(i>>8)
	}
}

// check compares a received message with the n-th of the flow, which it makes in scratch.
func check(got, scratch []byte, id uint32, n uint64) error {
	want := scratch[:len(got)]
	fill(want, id, n)
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("message %d of %d bytes: wrong from byte %d on", n, len(got), i)
		}
	}
	return nil
}
