package tunif

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"
)

// listenTrusted is how long an answer of Listened is believed: who begins to watch a
// busy device misses what is shown within it, of an idle one nothing.
const listenTrusted = 50 * time.Millisecond

// packetSockets is the kernel's list of packet sockets, as the thread that opens it
// sees those of its own namespace.
const packetSockets = "/proc/thread-self/net/packet"

// PacketSockets opens the kernel's list of who captures packets, in the namespace of the
// calling thread; a daemon does before it may open files no more.
func PacketSockets() (*os.File, error) { return os.Open(packetSockets) }

// Option is how Open is to do it.
type Option func(*Device)

// WatchedBy has the device use a list that is open already; nil: none is. It stays its caller's.
func WatchedBy(sockets *os.File) Option { return func(d *Device) { d.listeners.file = sockets } }

// listeners knows whether anybody watches the device.
type listeners struct {
	file  *os.File // nil: not known
	own   bool     // opened for this device
	text  []byte
	asked time.Time
	some  bool
}

// Listened tells whether any program captures packets of the device (tcpdump and its
// like, also of all interfaces at once). It belongs to the goroutine that calls Write.
// Where the kernel does not tell, the answer is yes.
func (d *Device) Listened() bool {
	l := &d.listeners
	if l.file == nil {
		return true
	}
	if now := time.Now(); now.Sub(l.asked) >= listenTrusted {
		l.asked = now
		l.some = l.read() != nil || listening(l.text, d.Status().Index)
	}
	return l.some
}

// read reads the whole list.
func (l *listeners) read() error {
	for n := 0; ; {
		if n == len(l.text) {
			l.text = append(l.text, make([]byte, max(2048, n))...)
		}
		got, err := l.file.ReadAt(l.text[n:], int64(n))
		n += got
		if err == io.EOF {
			l.text = l.text[:n]
			return nil
		}
		if err != nil {
			return err
		}
		l.text = l.text[:cap(l.text)]
	}
}

// listening looks for a socket that takes the packets of the interface, in a list like
//
//	sk               RefCnt Type Proto  Iface R Rmem   User   Inode
//	ffff9f4d8a2b3000 3      3    0003   4     1 0      0      28413
func listening(list []byte, index int) bool {
	_, list, _ = bytes.Cut(list, []byte{'\n'})
	for len(list) > 0 {
		var line []byte
		line, list, _ = bytes.Cut(list, []byte{'\n'})
		var proto, iface []byte
		for n := 0; n <= 4; n++ {
			line = bytes.TrimLeft(line, " ")
			var word []byte
			word, line, _ = bytes.Cut(line, []byte{' '})
			switch n {
			case 3:
				proto = word
			case 4:
				iface = word
			}
		}
		i, err := strconv.Atoi(string(iface))
		if err != nil || i != 0 && i != index {
			continue
		}
		switch string(proto) {
		case "0003", "0800": // ETH_P_ALL, ETH_P_IP
			return true
		}
	}
	return false
}
