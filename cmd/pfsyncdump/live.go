package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// live captures on an interface. Its packet socket is a cooked one: frames begin at
// the IP header whatever the device is, TUN or Ethernet.
type live struct {
	name string
	conn *socket.Conn
	buf  []byte
	oob  []byte
}

// filter lets pass what is IP with protocol 240; offsets are from the IP header.
var filter = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtProto},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: syscall.ETH_P_IP, SkipFalse: 2},
	bpf.LoadAbsolute{Off: 9, Size: 1}, // IPv4 protocol
	bpf.Jump{Skip: 4},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: syscall.ETH_P_IPV6, SkipFalse: 5},
	bpf.LoadAbsolute{Off: 6, Size: 1}, // IPv6 next header
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: syscall.IPPROTO_FRAGMENT, SkipFalse: 1},
	bpf.LoadAbsolute{Off: 40, Size: 1}, // that of the fragment
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: pfstate.ProtoPFSync, SkipFalse: 1},
	bpf.RetConstant{Val: maxSnap},
	bpf.RetConstant{Val: 0},
}

// groups are the Ethernet addresses of 224.0.0.240 and ff12::f0: a host that does
// not take part would not get them. Promiscuous mode is not needed.
var groups = [][6]byte{{0x01, 0x00, 0x5e, 0x00, 0x00, 0xf0}, {0x33, 0x33, 0x00, 0x00, 0x00, 0xf0}}

func openLive(name string) (*live, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: no such interface", name)
	}
	// Protocol 0: nothing arrives before the filter is set and the socket bound.
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%s: capturing needs root or CAP_NET_RAW", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: packet socket: %w", name, err)
	}
	conn, err := socket.New(fd, "packet")
	if err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("%s: packet socket: %w", name, err)
	}
	l := &live{name: name, conn: conn, buf: make([]byte, maxSnap), oob: make([]byte, 256)}
	if err := l.listen(ifi); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

func (l *live) listen(ifi *net.Interface) error {
	program, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if err := l.conn.SetBPF(program); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if err := l.conn.SetsockoptInt(syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("timestamps: %w", err)
	}
	if err := l.conn.SetReadBuffer(4 << 20); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	err = raw.Control(func(fd uintptr) { opErr = bind(int(fd), ifi) })
	return errors.Join(err, opErr)
}

func bind(fd int, ifi *net.Interface) error {
	for _, g := range groups {
		if len(ifi.HardwareAddr) != len(g) { // TUN has no addresses
			continue
		}
		// struct packet_mreq: index 4, type 2, address length 2, address 8
		m := binary.NativeEndian.AppendUint32(nil, uint32(ifi.Index))
		m = binary.NativeEndian.AppendUint16(m, syscall.PACKET_MR_MULTICAST)
		m = binary.NativeEndian.AppendUint16(m, uint16(len(g)))
		m = append(append(m, g[:]...), 0, 0)
		if err := syscall.SetsockoptString(fd, syscall.SOL_PACKET, syscall.PACKET_ADD_MEMBERSHIP, string(m)); err != nil {
			return fmt.Errorf("multicast address %x: %w", g, err)
		}
	}
	all := binary.BigEndian.AppendUint16(nil, syscall.ETH_P_ALL) // also what this host sends
	err := syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all), Ifindex: ifi.Index})
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (l *live) next(ctx context.Context) (frame, error) {
	n, oobn, _, _, err := l.conn.Recvmsg(ctx, l.buf, l.oob, syscall.MSG_TRUNC) // n is the whole length
	if errors.Is(err, syscall.ENETDOWN) {
		return frame{}, fmt.Errorf("%s: the interface is down or gone", l.name)
	}
	if err != nil {
		return frame{}, fmt.Errorf("%s: %w", l.name, err)
	}
	return frame{timestamp(l.oob[:oobn]), layers.LinkTypeRaw, l.buf[:min(n, len(l.buf))], n}, nil
}

// timestamp is the kernel's, or the time now if it gave none.
func timestamp(oob []byte) time.Time {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level != syscall.SOL_SOCKET || m.Header.Type != syscall.SO_TIMESTAMPNS {
			continue
		}
		switch len(m.Data) { // two longs
		case 16:
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case 8:
			return time.Unix(int64(binary.NativeEndian.Uint32(m.Data)), int64(binary.NativeEndian.Uint32(m.Data[4:])))
		}
	}
	return time.Now()
}

// drops is the number of packets that the kernel could not keep for us.
func (l *live) drops() (uint32, error) {
	s, err := l.conn.GetsockoptTpacketStats(syscall.SOL_PACKET, syscall.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("%s: statistics: %w", l.name, err)
	}
	return s.Drops, nil
}

func (l *live) Close() error { return l.conn.Close() }
