package hold_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/mdlayher/netlink"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/hold"
)

// made is a packet written by foreign code.
func made(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ip4(proto layers.IPProtocol, fragment uint16) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: proto, FragOffset: fragment,
		SrcIP: net.IP{10, 1, 0, 2}, DstIP: net.IP{10, 2, 0, 2},
	}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, NextHeader: next, HopLimit: 64, SrcIP: net.ParseIP("fd01::2"), DstIP: net.ParseIP("fd02::2")}
}

// extension is an IPv6 header of so many bytes with what follows.
func extension(next layers.IPProtocol, length int) gopacket.Payload {
	b := make(gopacket.Payload, length)
	b[0], b[1] = byte(next), byte(length/8-1)
	return b
}

// packets are what the kernel may hold, with what is to be read of each; Proto 0: it goes on.
func packets(t testing.TB) map[string]struct {
	b    []byte
	want hold.Packet
} {
	const tcp, udp, icmp, icmp6, fragment, routing, ah, esp = layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4,
		layers.IPProtocolICMPv6, layers.IPProtocolIPv6Fragment, layers.IPProtocolIPv6Routing, layers.IPProtocolAH, layers.IPProtocolESP
	syn := &layers.TCP{SrcPort: 4000, DstPort: 80, SYN: true, Window: 1000}
	datagram := &layers.UDP{SrcPort: 4000, DstPort: 53}
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 1}
	echo6 := gopacket.Payload{128, 0, 0, 0, 0, 7, 0, 1}
	options := ip4(tcp, 0)
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	atoms := func(offset uint16) gopacket.Payload {
		return gopacket.Payload{byte(udp), 0, byte(offset >> 8), byte(offset) | 1, 0, 0, 0, 9}
	}
	four := func(proto uint8, sport, dport uint16) hold.Packet {
		return hold.Packet{Proto: proto, Tuple: tuple("10.1.0.2", sport, "10.2.0.2", dport)}
	}
	six := func(proto uint8, sport, dport uint16) hold.Packet {
		return hold.Packet{Proto: proto, Tuple: tuple("fd01::2", sport, "fd02::2", dport)}
	}
	big := made(t, ip4(tcp, 0), syn)
	big[2], big[3] = 0, 0 // "big TCP": longer than the header can say
	return map[string]struct {
		b    []byte
		want hold.Packet
	}{
		"tcp":               {made(t, ip4(tcp, 0), syn), four(pfstate.ProtoTCP, 4000, 80)},
		"options":           {made(t, options, syn), four(pfstate.ProtoTCP, 4000, 80)},
		"larger than 64 kB": {big, four(pfstate.ProtoTCP, 4000, 80)},
		"udp":               {made(t, ip4(udp, 0), datagram), four(pfstate.ProtoUDP, 4000, 53)},
		"echo":              {made(t, ip4(icmp, 0), echo), four(pfstate.ProtoICMP, 7, 8)},
		"later fragment":    {made(t, ip4(udp, 185), datagram), hold.Packet{}},
		"esp":               {made(t, ip4(esp, 0), gopacket.Payload(make([]byte, 40))), hold.Packet{}},
		"no header":         {made(t, ip4(tcp, 0)), hold.Packet{}},
		"nothing":           {nil, hold.Packet{}},
		"arp":               {made(t, gopacket.Payload(make([]byte, 60))), hold.Packet{}},

		"tcp6":       {made(t, ip6(tcp), syn), six(pfstate.ProtoTCP, 4000, 80)},
		"echo6":      {made(t, ip6(icmp6), echo6), six(pfstate.ProtoICMPv6, 7, 128)},
		"extensions": {made(t, ip6(0), extension(routing, 16), extension(60, 24), extension(tcp, 8), syn), six(pfstate.ProtoTCP, 4000, 80)},
		"authenticated": {made(t, ip6(ah), gopacket.Payload(append([]byte{byte(tcp), 4}, make([]byte, 22)...)), syn),
			six(pfstate.ProtoTCP, 4000, 80)},
		"first fragment of IPv6": {made(t, ip6(fragment), atoms(0), datagram), six(pfstate.ProtoUDP, 4000, 53)},
		"later fragment of IPv6": {made(t, ip6(fragment), atoms(1448), datagram), hold.Packet{}},
		"endless extension":      {made(t, ip6(0), gopacket.Payload{byte(tcp), 255, 0, 0, 0, 0, 0, 0}, syn), hold.Packet{}},
		"nothing behind":         {made(t, ip6(0), extension(tcp, 8)), hold.Packet{}},
	}
}

func TestPacketsAreRead(t *testing.T) {
	for name, c := range packets(t) {
		got := hold.ParsePacket(c.b)
		if got.Proto == 0 {
			got.Tuple = pfstate.Tuple{} // does not count
		}
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// The connection that a kernel puts beside the packet is handed on as it is, as is one that
// comes without; what is no packet is left out.
func TestQueueMessages(t *testing.T) {
	const kind, number = 3 << 8, 24240 // NFQNL_MSG_PACKET
	syn := packets(t)["tcp"]
	ct := []byte{8, 0, 12, 0, 1, 2, 3, 4} // an attribute of ctnetlink: its id
	message := func(typ netlink.HeaderType, id uint32, ct []byte) []byte {
		e := netlink.NewAttributeEncoder()
		e.ByteOrder = binary.BigEndian
		if id != 0 {
			e.Bytes(1, append(binary.BigEndian.AppendUint32(nil, id), 8, 0, 4)) // NFQA_PACKET_HDR: protocol and hook behind it
		}
		if ct != nil {
			e.Bytes(netlink.Nested|11, ct) // NFQA_CT
			e.Uint32(12, 2)                // NFQA_CT_INFO: new
		}
		e.Bytes(10, syn.b) // NFQA_PAYLOAD
		attrs, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b, err := netlink.Message{
			Header: netlink.Header{Length: uint32(20 + len(attrs)), Type: typ},
			Data:   append([]byte{2, 0, number >> 8, number & 0xff}, attrs...),
		}.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	with, without := syn.want, syn.want
	with.ID, with.CT, without.ID = 7, ct, 8
	var b pfstate.Batch[hold.Packet]
	hold.ParseQueue(&b, slices.Concat(message(kind, 7, ct), message(kind|1, 9, nil), message(kind, 0, nil), message(kind, 8, nil)))
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff([]hold.Packet{with, without}, b.Items, same, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzPacket: no bytes make the reader panic; it reads ports only of what has some, and whatever of a
// packet the kernel gives, the same or nothing.
func FuzzPacket(f *testing.F) {
	for _, c := range packets(f) {
		f.Add(c.b, uint8(len(c.b)/2))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		whole := hold.ParsePacket(b)
		if whole.Proto != 0 && (whole.Tuple.Src.Is4() != (b[0]>>4 == 4) || whole.Tuple.Src.Is4() != whole.Tuple.Dst.Is4()) {
			t.Errorf("version %d: %+v", b[0]>>4, whole)
		}
		switch whole.Proto {
		case 0, pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoICMP, pfstate.ProtoICMPv6, pfstate.ProtoSCTP, 136:
		default:
			t.Errorf("protocol %d", whole.Proto)
		}
		part := hold.ParsePacket(b[:min(len(b), int(cut))])
		if part.Proto != 0 && (part.Proto != whole.Proto || part.Tuple != whole.Tuple) {
			t.Errorf("of %d bytes %+v, of all %+v", cut, part, whole)
		}
	})
}
