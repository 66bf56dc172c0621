package auth_test

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/sync/auth"
	"github.com/pfsync-linux/pfsync/sync/wire"
)

func ExampleKeyring() {
	var a, b auth.Keyring // two firewalls'
	a.Set([]byte("the key that both have, 32 bytes"))
	b.Set([]byte("the key that both have, 32 bytes"))

	header := wire.Header{Version: wire.Version, Len: wire.HeaderLen}
	trailer := wire.BeginTrailer(header.Append(nil), 0, 0x5eed, 1)
	packet := a.Seal(trailer.End())

	_, err := b.Open(packet)
	fmt.Println(err)
	packet[len(packet)-30]++ // on the way
	_, err = b.Open(packet)
	fmt.Println(err)
	// Output:
	// <nil>
	// authentication code is not valid
}
