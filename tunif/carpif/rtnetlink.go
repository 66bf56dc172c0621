package carpif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	requestTimeout = 2 * time.Second // the kernel answers within the send; this is for a bug
	prefixMetric   = 1024            // of the addresses' routes: the carpdev's own come first
)

// rtnetlink sends requests many at a time. It is used by one goroutine at a time.
type rtnetlink struct {
	netNS int
	conn  *netlink.Conn
}

// do sends all requests at once and returns the answer to each.
func (r *rtnetlink) do(requests []netlink.Message) []error {
	errs := make([]error, len(requests))
	if err := r.send(requests); err != nil {
		r.close()
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	for i := range errs {
		if r.conn == nil {
			errs[i] = errors.New("rtnetlink: no answer")
			continue
		}
		_, errs[i] = r.conn.Receive()
		op := (*netlink.OpError)(nil)
		switch {
		case !errors.As(errs[i], &op):
		case op.Timeout():
			r.close() // the answer may come when the next is awaited
		default:
			errs[i] = op.Err // the kernel's
		}
	}
	return errs
}

// one sends one request.
func (r *rtnetlink) one(request netlink.Message) error { return r.do([]netlink.Message{request})[0] }

func (r *rtnetlink) send(requests []netlink.Message) (err error) {
	if r.conn == nil {
		if r.conn, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: r.netNS}); err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
	}
	if err := r.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return fmt.Errorf("rtnetlink: %w", err)
	}
	_, err = r.conn.SendMessages(requests)
	return err
}

func (r *rtnetlink) close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// linkMessage is struct ifinfomsg with attributes.
func linkMessage(kind netlink.HeaderType, flags netlink.HeaderFlags, index int, up, change uint32, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	b := make([]byte, 16, 128)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], up)
	binary.NativeEndian.PutUint32(b[12:], change)
	return message(kind, flags, b, attrs)
}

func message(kind netlink.HeaderType, flags netlink.HeaderFlags, b []byte, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	if attrs != nil {
		e := netlink.NewAttributeEncoder()
		attrs(e)
		encoded, err := e.Encode()
		if err != nil {
			panic("carpif: attributes of fixed sizes: " + err.Error())
		}
		b = append(b, encoded...)
	}
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags}, Data: b}
}

// newMacvlan makes a macvlan. In mode bridge an advert from our own virtual MAC, of a
// second master, still comes to the carpdev; in mode private it would not.
func newMacvlan(name string, parent int, mac net.HardwareAddr) netlink.Message {
	const iflaMacvlanMode, macvlanModeBridge = 1, 4
	return linkMessage(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, 0, 0, 0, func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFNAME, name)
		e.Uint32(unix.IFLA_LINK, uint32(parent))
		e.Bytes(unix.IFLA_ADDRESS, mac)
		e.Nested(unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) error {
			e.String(unix.IFLA_INFO_KIND, "macvlan")
			e.Nested(unix.IFLA_INFO_DATA, func(e *netlink.AttributeEncoder) error {
				e.Uint32(iflaMacvlanMode, macvlanModeBridge)
				return nil
			})
			return nil
		})
	})
}

// setAlias describes an interface for people, and for the daemon after this one.
func setAlias(index int, alias string) netlink.Message {
	return linkMessage(unix.RTM_SETLINK, 0, index, 0, 0, func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFLA_IFALIAS, []byte(alias))
	})
}

func setUp(index int) netlink.Message {
	return linkMessage(unix.RTM_NEWLINK, 0, index, unix.IFF_UP, unix.IFF_UP, nil)
}

func setDown(index int) netlink.Message {
	return linkMessage(unix.RTM_NEWLINK, 0, index, 0, unix.IFF_UP, nil)
}

// newAddress adds an address, or renews it, for so many seconds.
func newAddress(index int, p netip.Prefix, seconds uint32) netlink.Message {
	return addressMessage(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, index, p, func(e *netlink.AttributeEncoder) {
		lifetime := make([]byte, 16) // struct ifa_cacheinfo: preferred, valid, and two that are answers
		binary.NativeEndian.PutUint32(lifetime, seconds)
		binary.NativeEndian.PutUint32(lifetime[4:], seconds)
		e.Bytes(unix.IFA_CACHEINFO, lifetime)
		e.Uint32(unix.IFA_RT_PRIORITY, prefixMetric)
		if p.Addr().Is6() {
			e.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
		}
	})
}

func deleteAddress(index int, p netip.Prefix) netlink.Message {
	return addressMessage(unix.RTM_DELADDR, 0, index, p, func(*netlink.AttributeEncoder) {})
}

// addressMessage is struct ifaddrmsg with the address and other attributes.
func addressMessage(kind netlink.HeaderType, flags netlink.HeaderFlags, index int, p netip.Prefix, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	b := make([]byte, 8, 128)
	b[0] = unix.AF_INET
	if p.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	b[1] = uint8(p.Bits())
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	return message(kind, flags, b, func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		e.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
		attrs(e)
	})
}
