package link

import "net/netip"

// Packet is one received pfsync packet. Nothing of it has been checked but that
// it is an IP packet of protocol 240, put together if it came in fragments.
type Packet struct {
	Src, Dst netip.Addr // without a zone: that is the syncdev
	TTL      uint8      // hop limit for IPv6
	Payload  []byte     // from the pfsync header on; valid until its batch is freed
}
