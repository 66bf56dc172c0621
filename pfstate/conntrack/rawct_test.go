package conntrack_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/test/lab"
)

// raw is a conntrack entry in the kernel's words, written and read by code that
// shares nothing with the package under test.
type raw struct {
	Orig, Reply rawTuple
	Proto       uint8
	Zone        uint16
	Status      uint32
	Timeout     uint32
	TCP         *rawTCP
	SCTP        *rawSCTP
	Beyond      map[uint16]string // attributes that pf has no words for
}

type rawTuple struct {
	Src, Dst   netip.Addr
	Sport      uint16 // ICMP: id
	Dport      uint16
	Type, Code uint8
	Zone       uint16 // of this direction only
}

type rawTCP struct {
	State  uint8
	WScale [2]uint8
	Flags  [2]uint8
}

type rawSCTP struct {
	State uint8
	Tag   [2]uint32
}

const (
	seenReply = 0x2
	assured   = 0x4
	confirmed = 0x8
	srcNAT    = 0x10
	dstNAT    = 0x20
)

func (t rawTuple) encode(proto uint8, e *netlink.AttributeEncoder) error {
	e.Nested(1, func(e *netlink.AttributeEncoder) error {
		first := uint16(1)
		if t.Src.Is6() {
			first = 3
		}
		e.Bytes(first, t.Src.AsSlice())
		e.Bytes(first+1, t.Dst.AsSlice())
		return nil
	})
	e.Nested(2, func(e *netlink.AttributeEncoder) error {
		e.Uint8(1, proto)
		switch proto {
		case 1, 58:
			first := uint16(4)
			if proto == 58 {
				first = 7
			}
			e.Uint16(first, t.Sport)
			e.Uint8(first+1, t.Type)
			e.Uint8(first+2, t.Code)
		case 6, 17, 136, 132, 47:
			e.Uint16(2, t.Sport)
			e.Uint16(3, t.Dport)
		}
		return nil
	})
	if t.Zone != 0 {
		e.Uint16(3, t.Zone)
	}
	return nil
}

// plain is the untranslated answer.
func (t rawTuple) plain(proto uint8) rawTuple {
	r := rawTuple{Src: t.Dst, Dst: t.Src, Sport: t.Dport, Dport: t.Sport}
	switch proto {
	case 1:
		r.Sport, r.Dport = t.Sport, 0
		r.Type = map[uint8]uint8{8: 0, 13: 14}[t.Type]
	case 58:
		r.Sport, r.Dport = t.Sport, 0
		r.Type = t.Type + 1
	}
	return r
}

// encode gives the attributes of a creation: translation by plain reply and CTA_NAT_*.
func (r raw) encode() ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(1, func(e *netlink.AttributeEncoder) error { return r.Orig.encode(r.Proto, e) })
	plain := r.Orig.plain(r.Proto)
	plain.Zone = r.Reply.Zone
	e.Nested(2, func(e *netlink.AttributeEncoder) error { return plain.encode(r.Proto, e) })
	e.Uint32(3, r.Status&^(srcNAT|dstNAT))
	e.Uint32(7, r.Timeout)
	if r.Zone != 0 {
		e.Uint16(18, r.Zone)
	}
	for typ, body := range r.Beyond {
		e.Bytes(typ, []byte(body))
	}
	nat := func(typ uint16, a netip.Addr, port uint16) {
		e.Nested(typ, func(e *netlink.AttributeEncoder) error {
			first := uint16(1)
			if a.Is6() {
				first = 4
			}
			e.Bytes(first, a.AsSlice())
			e.Bytes(first+1, a.AsSlice())
			if port != 0 {
				e.Nested(3, func(e *netlink.AttributeEncoder) error {
					e.Uint16(1, port)
					e.Uint16(2, port)
					return nil
				})
			}
			return nil
		})
	}
	if r.Status&srcNAT != 0 {
		port := r.Reply.Dport
		if r.Proto == 1 || r.Proto == 58 {
			port = r.Reply.Sport
		}
		nat(6, r.Reply.Dst, port)
	}
	if r.Status&dstNAT != 0 {
		port := r.Reply.Sport
		if r.Proto == 1 || r.Proto == 58 {
			port = 0
		}
		nat(13, r.Reply.Src, port)
	}
	if r.TCP != nil || r.SCTP != nil {
		e.Nested(4, func(e *netlink.AttributeEncoder) error {
			if p := r.TCP; p != nil {
				e.Nested(1, func(e *netlink.AttributeEncoder) error {
					e.Uint8(1, p.State)
					e.Uint8(2, p.WScale[0])
					e.Uint8(3, p.WScale[1])
					e.Bytes(4, []byte{p.Flags[0], 0xff})
					e.Bytes(5, []byte{p.Flags[1], 0xff})
					return nil
				})
			}
			if p := r.SCTP; p != nil {
				e.Nested(3, func(e *netlink.AttributeEncoder) error {
					e.Uint8(1, p.State)
					e.Uint32(2, p.Tag[0])
					e.Uint32(3, p.Tag[1])
					return nil
				})
			}
			return nil
		})
	}
	return e.Encode()
}

func (t *rawTuple) decode(proto *uint8, b []byte) error {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case 1:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					a, _ := netip.AddrFromSlice(d.Bytes())
					if d.Type()%2 == 1 {
						t.Src = a
					} else {
						t.Dst = a
					}
				}
				return nil
			})
		case 2:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case 1:
						*proto = d.Uint8()
					case 2, 4, 7:
						t.Sport = d.Uint16()
					case 3:
						t.Dport = d.Uint16()
					case 5, 8:
						t.Type = d.Uint8()
					case 6, 9:
						t.Code = d.Uint8()
					}
				}
				return nil
			})
		case 3:
			t.Zone = d.Uint16()
		}
	}
	return d.Err()
}

func decodeRaw(b []byte) (r raw, err error) {
	d, err := netlink.NewAttributeDecoder(b[4:])
	if err != nil {
		return r, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case 1:
			d.Do(func(b []byte) error { return r.Orig.decode(&r.Proto, b) })
		case 2:
			d.Do(func(b []byte) error { return r.Reply.decode(&r.Proto, b) })
		case 3:
			r.Status = d.Uint32()
		case 7:
			r.Timeout = d.Uint32()
		case 18:
			r.Zone = d.Uint16()
		case 5, 8, 14, 15, 16, 22:
			if b := d.Bytes(); d.Type() != 8 || [4]byte(b) != [4]byte{} {
				if r.Beyond == nil {
					r.Beyond = make(map[uint16]string)
				}
				r.Beyond[d.Type()] = string(b)
			}
		case 4:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case 1:
						r.TCP = &rawTCP{}
						d.Nested(func(d *netlink.AttributeDecoder) error {
							for d.Next() {
								switch n := d.Type(); n {
								case 1:
									r.TCP.State = d.Uint8()
								case 2, 3:
									r.TCP.WScale[n-2] = d.Uint8()
								case 4, 5:
									r.TCP.Flags[n-4] = d.Bytes()[0]
								}
							}
							return nil
						})
					case 3:
						r.SCTP = &rawSCTP{}
						d.Nested(func(d *netlink.AttributeDecoder) error {
							for d.Next() {
								switch n := d.Type(); n {
								case 1:
									r.SCTP.State = d.Uint8()
								case 2, 3:
									r.SCTP.Tag[n-2] = d.Uint32()
								}
							}
							return nil
						})
					}
				}
				return nil
			})
		}
	}
	return r, d.Err()
}

// kernel is another program that changes the table of a namespace.
type kernel struct {
	t    testing.TB
	conn *netlink.Conn
}

func openKernel(t testing.TB, ns *lab.NS) *kernel {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns.Fd()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &kernel{t: t, conn: c}
}

func (k *kernel) request(typ uint16, flags netlink.HeaderFlags, family uint8, attrs []byte) ([]netlink.Message, error) {
	return k.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(1<<8 | typ), Flags: netlink.Request | flags},
		Data:   append([]byte{family, 0, 0, 0}, attrs...),
	})
}

func (k *kernel) make(r raw) error {
	k.t.Helper()
	return k.write(r, netlink.Acknowledge|netlink.Create|netlink.Excl)
}

func (k *kernel) write(r raw, flags netlink.HeaderFlags) error {
	attrs, err := r.encode()
	if err != nil {
		return err
	}
	_, err = k.request(0, flags, family(r.Orig.Src), attrs)
	return err
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// dump is the whole table.
func (k *kernel) dump() []raw {
	k.t.Helper()
	msgs, err := k.request(1, netlink.Dump, 0, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	var list []raw
	for _, m := range msgs {
		r, err := decodeRaw(m.Data)
		if err != nil {
			k.t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// flush empties the table.
func (k *kernel) flush() {
	if _, err := k.request(2, netlink.Acknowledge, 0, nil); err != nil {
		k.t.Error(err)
	}
}

// only is the single entry in the table.
func (k *kernel) only() raw {
	k.t.Helper()
	list := k.dump()
	if len(list) != 1 {
		k.t.Fatalf("%d entries, want 1: %+v", len(list), list)
	}
	return list[0]
}

// Create, Update and Delete make the kernel a tabletest.Traffic, for the suite's
// TCP and UDP states.
func (k *kernel) Create(s pfstate.State) error {
	return k.write(rawOf(s), netlink.Acknowledge|netlink.Create|netlink.Excl)
}

func (k *kernel) Update(s pfstate.State) error {
	r := rawOf(s)
	if r.Status&(srcNAT|dstNAT) != 0 {
		return fmt.Errorf("translated states cannot be updated by this test")
	}
	return k.write(r, netlink.Acknowledge)
}

func (k *kernel) Delete(s pfstate.State) error {
	r := rawOf(s)
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.Nested(1, func(e *netlink.AttributeEncoder) error { return r.Orig.encode(r.Proto, e) })
	attrs, err := e.Encode()
	if err != nil {
		return err
	}
	_, err = k.request(2, netlink.Acknowledge, family(r.Orig.Src), attrs)
	return err
}

func rawOf(s pfstate.State) raw {
	orig, reply := s.Tuples()
	r := raw{
		Orig:    rawTuple{Src: orig.Src, Dst: orig.Dst, Sport: orig.SrcPort, Dport: orig.DstPort},
		Reply:   rawTuple{Src: reply.Src, Dst: reply.Dst, Sport: reply.SrcPort, Dport: reply.DstPort},
		Proto:   s.Proto,
		Zone:    s.Stack.RDomain,
		Status:  confirmed | seenReply,
		Timeout: uint32(s.Expire / time.Second),
	}
	if orig.Src != reply.Dst || orig.SrcPort != reply.DstPort {
		r.Status |= srcNAT
	}
	if s.Proto == pfstate.ProtoTCP {
		r.TCP = &rawTCP{State: 3, Flags: [2]uint8{1, 1}, WScale: [2]uint8{s.Src.WScale & 15, s.Dst.WScale & 15}}
		r.Status |= assured
		if s.Src.State == pfstate.TCPSynSent {
			r.TCP.State, r.Status = 1, confirmed
		}
	}
	return r
}

// message is a creation that is answered only if it fails.
func message(attrs []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(20+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, 1<<8)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = append(b, make([]byte, 8)...)
	b = append(b, unix.AF_INET, 0, 0, 0)
	return append(b, attrs...)
}

// send gives the kernel messages as they are.
func (k *kernel) send(b []byte) {
	raw, err := k.conn.SyscallConn()
	if err != nil {
		k.t.Error(err)
		return
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { _, sent = unix.Write(int(fd), b) }); err != nil || sent != nil {
		k.t.Error(err, sent)
	}
}

// raise makes room for refusals.
func (k *kernel) raise() {
	if err := k.conn.SetReadBuffer(1 << 20); err != nil {
		k.t.Fatal(err)
	}
}
