package rush

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/pfsync-linux/pfsync/test/lab"
)

// Stranger sends one pfsync packet out of a link, as from a third firewall on it.
func Stranger(ns *lab.NS, link string, from netip.Addr, payload []byte) error {
	const protocol, ttl = 240, 255
	group := [4]byte{224, 0, 0, 240}
	frame := make([]byte, ethernet+ipv4, ethernet+ipv4+len(payload))
	copy(frame, []byte{0x01, 0, 0x5e, 0, 0, 240, 2, 0, 0, 0, 0, 99}) // to the group's hardware address
	binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IP)
	ip, src := frame[ethernet:], from.As4()
	ip[0], ip[8], ip[9] = 0x45, ttl, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4+len(payload)))
	copy(ip[12:], src[:])
	copy(ip[16:], group[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipv4], 0))
	frame = append(frame, payload...)
	err := ns.Do(func() error {
		i, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("%s: %s: %w", ns.Name, link, err)
	}
	return nil
}
