package carpif

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	mdsocket "github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/sync/carp"
)

// sender is the sockets that all devices send with. Nothing is received there.
type sender struct {
	frames  *mdsocket.Conn // whole Ethernet frames
	packets *mdsocket.Conn // IPv4 packets to one neighbour, whose MAC the kernel finds
}

func openSender(netNS int) (*sender, error) {
	frames, err := openSocket(unix.AF_PACKET, 0, netNS) // protocol 0: it receives nothing
	if err != nil {
		return nil, err
	}
	packets, err := openSocket(unix.AF_INET, unix.IPPROTO_RAW, netNS)
	if err != nil {
		frames.Close()
		return nil, err
	}
	return &sender{frames, packets}, nil
}

func openSocket(family, protocol, netNS int) (*mdsocket.Conn, error) {
	conn, err := mdsocket.Socket(family, unix.SOCK_RAW, protocol, "carp", &mdsocket.Config{NetNS: netNS})
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; needs CAP_NET_RAW", err)
	}
	return conn, err
}

func (s *sender) close() error { return errors.Join(s.frames.Close(), s.packets.Close()) }

// frame sends a frame through an interface. It never waits.
func (s *sender) frame(index int, frame []byte) error {
	return sendmsg(s.frames, frame, nil, &unix.SockaddrLinklayer{Ifindex: index})
}

// packet sends an IPv4 packet through an interface, whatever the routes say.
func (s *sender) packet(index int, packet []byte, dst netip.Addr) error {
	info := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(index)})
	return sendmsg(s.packets, packet, info, &unix.SockaddrInet4{Addr: dst.As4()})
}

func sendmsg(conn *mdsocket.Conn, b, oob []byte, to unix.Sockaddr) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		for {
			if err = unix.Sendmsg(int(fd), b, oob, to, unix.MSG_DONTWAIT); err != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(cerr, err)
}

// Send is carp.Device's. When the interface is down, as before the first Serve and after
// Withdraw, the advert goes through the carpdev: to a group it then is the same frame.
func (d *Device) Send(advert []byte, family carp.Family, peer, source netip.Addr) error {
	if err := d.sendAdvert(advert, family, peer.Unmap(), source.Unmap()); err != nil {
		d.system.counters.sendErrors.Add(1)
		return err
	}
	d.system.counters.sent.Add(1)
	return nil
}

func (d *Device) sendAdvert(advert []byte, family carp.Family, peer, source netip.Addr) error {
	w := d.way.Load()
	if w.err != nil {
		return w.err
	}
	if own := w.own[family]; own.IsValid() {
		source = own.WithZone("")
	}
	var err error
	switch send := d.system.send; {
	case family == carp.Inet && !source.Is4(), family == carp.Inet6 && !source.Is6():
		return fmt.Errorf("%s: advert: carpdev %s has no address of IPv%d, and there is no other to send from", d.name, d.parent.name, family)
	case family == carp.Inet6 && peer.IsValid():
		return fmt.Errorf("%s: advert: carppeer %v: only IPv4 has peers", d.name, peer)
	case family == carp.Inet6:
		b := ethernet(nil, groupMAC(group6), d.mac, unix.ETH_P_IPV6)
		err = send.frame(w.advert, appendIPv6(b, source, group6, protocol, advert))
	case !peer.IsValid() || peer == group4:
		b := ethernet(nil, groupMAC(group4), d.mac, unix.ETH_P_IP)
		err = send.frame(w.advert, appendIPv4(b, source, group4, advert))
	case !peer.Is4():
		return fmt.Errorf("%s: advert: carppeer %v: is not an IPv4 address", d.name, peer)
	default:
		err = send.packet(w.advert, appendIPv4(nil, source, peer, advert), peer)
	}
	if err != nil {
		return fmt.Errorf("%s: advert: %w", d.name, err)
	}
	return nil
}

// Announce is carp.Device's.
func (d *Device) Announce(addresses []netip.Prefix) error {
	w := d.way.Load()
	if w.err != nil {
		return w.err
	}
	router := d.system.sysctls.forwards6(d.parent.name)
	var errs []error
	for _, a := range unmapped(addresses) {
		frame := gratuitousARP
		if a.Addr().Is6() {
			frame = func(mac net.HardwareAddr, addr netip.Addr) []byte { return unsolicitedNA(mac, addr, router) }
		}
		if err := d.system.send.frame(w.index, frame(d.mac, a.Addr())); err != nil {
			d.system.counters.announceErrors.Add(1)
			errs = append(errs, fmt.Errorf("%s: announcing %v: %w", d.name, a.Addr(), err))
			continue
		}
		d.system.counters.announced.Add(1)
	}
	return errors.Join(errs...)
}
