package conntrack

import (
	"fmt"
	"math"
	"time"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// image is an entry as a state wants it to be.
type image struct {
	orig, reply tuple
	status      uint32
	timeout     uint32 // seconds
	tcp         tcpInfo
	sctp        sctpInfo
	renew       bool                // leave the progress as it is
	timeless    bool                // and the time
	linux       *pfstate.Linux      // of the state; nil: nothing
	without     pfstate.LinuxFields // refused by the kernel
}

// tuples reads the names of the entry out of a state.
func (im *image) tuples(s *pfstate.State) error {
	im.orig = tuple{proto: s.Proto, zone: s.Stack.RDomain}
	im.reply = tuple{proto: s.Proto, zone: s.Wire.RDomain, reply: true}
	if s.Direction != pfstate.Out {
		im.orig.zone, im.reply.zone = im.reply.zone, im.orig.zone
	}
	im.orig.Tuple, im.reply.Tuple = s.Tuples()
	for _, t := range []*tuple{&im.orig, &im.reply} {
		t.Src, t.Dst = t.Src.WithZone(""), t.Dst.WithZone("")
	}
	return im.orig.check()
}

// fill makes the image of a state, or says with pfstate.ErrUnsupported why the
// kernel cannot hold it.
func (m *mapping) fill(im *image, s *pfstate.State) error {
	if err := im.tuples(s); err != nil {
		return err
	}
	if err := im.reply.check(); err != nil {
		return err
	}
	if err := im.supported(s); err != nil {
		return fmt.Errorf("state %v: %w", s.ID, err)
	}
	im.status, im.tcp, im.sctp, im.linux = statusConfirmed, tcpInfo{}, sctpInfo{}, &s.Linux
	switch s.Proto {
	case pfstate.ProtoTCP:
		importTCP(im, s)
	case pfstate.ProtoICMP, pfstate.ProtoICMPv6:
		if s.Timeout == pfstate.ICMPErrorReply {
			im.status |= statusSeenReply
		}
	default:
		switch {
		case s.Dst.State >= pfstate.Multiple:
			im.status |= statusSeenReply | statusAssured
		case s.Dst.State == pfstate.Single:
			im.status |= statusSeenReply
		}
		if s.Proto == pfstate.ProtoSCTP {
			importSCTP(im, s)
		}
	}
	if s.Linux.Has&pfstate.HasStatus != 0 {
		im.status = statusConfirmed | uint32(s.Linux.Status)&(statusSeenReply|statusAssured)
	}
	im.timeout = uint32(min(math.MaxUint32, s.Expire/time.Second))
	if s.Expire%time.Second > 0 && im.timeout < math.MaxUint32 {
		im.timeout++ // 0 would be no time at all
	}
	if s.Expire <= 0 {
		im.timeout = m.timeouts.of(im)
	}
	return nil
}

func (im *image) supported(s *pfstate.State) error {
	switch {
	case s.Src.State >= pfstate.TCPProxySrc || s.Dst.State >= pfstate.TCPProxySrc:
		return fmt.Errorf("%w: synproxy handshake not finished", pfstate.ErrUnsupported)
	case s.Src.SeqDiff != 0 || s.Dst.SeqDiff != 0:
		return fmt.Errorf("%w: modulated sequence numbers", pfstate.ErrUnsupported)
	case im.orig.Src.Is4() != im.reply.Src.Is4():
		return fmt.Errorf("%w: address families translated (af-to)", pfstate.ErrUnsupported)
	case im.orig.zone != im.reply.zone && im.orig.zone != 0 && im.reply.zone != 0:
		return fmt.Errorf("%w: routing domains %d and %d", pfstate.ErrUnsupported, im.orig.zone, im.reply.zone)
	case s.Proto == pfstate.ProtoGRE && (im.orig.SrcPort != im.reply.DstPort || im.orig.DstPort != im.reply.SrcPort):
		return fmt.Errorf("%w: translated GRE key", pfstate.ErrUnsupported) // the kernel does so only below a PPTP master
	case isICMP(s.Proto) && im.orig.DstPort != im.reply.SrcPort:
		return fmt.Errorf("%w: translated ICMP type", pfstate.ErrUnsupported)
	}
	return nil
}

func importTCP(im *image, s *pfstate.State) {
	p := &im.tcp
	var status uint32
	*p, status = impliedTCP(s)
	im.status |= status
	if s.Linux.Has&pfstate.HasTCP != 0 {
		for i, flags := range s.Linux.TCP {
			p.flags[i] = flags & pfstate.TCPFlagsKept
		}
	}
	p.flags[0] |= tcpFlagLiberal
	p.flags[1] |= tcpFlagLiberal
	if p.state == tcpSynSent && p.flags[0]&tcpFlagWindowScale != 0 {
		// The kernel takes scales only when both sides have the flag. The
		// responder's is decided by its own SYN; until then export hides it.
		p.flags[1] |= tcpFlagWindowScale
	}
}

// impliedTCP is what pf's words imply of the progress and of the status.
func impliedTCP(s *pfstate.State) (p tcpInfo, status uint32) {
	for i, peer := range [2]*pfstate.Peer{&s.Src, &s.Dst} {
		if peer.WScale&pfstate.WScaleFlag != 0 {
			p.flags[i] |= tcpFlagWindowScale
			p.wscale[i] = peer.WScale & 0x0f
		}
	}
	var closer int
	p.state, closer = importTCPState(s.Src.State, s.Dst.State)
	if closer >= 0 {
		p.flags[closer] |= tcpFlagCloseInit
	}
	switch {
	case p.state >= tcpEstablished && p.state <= tcpClose:
		status = statusSeenReply | statusAssured
	case p.state == tcpSynRecv || p.state == tcpSynSent2:
		status = statusSeenReply
	}
	return p, status
}

// importTCPState is the reverse of tcpExport for any pair of peer states pf may
// send. closer is the direction that closed first, -1: none, or it does not matter.
func importTCPState(src, dst pfstate.PeerState) (state uint8, closer int) {
	first, low, high := 0, dst, src
	if dst > src {
		first, low, high = 1, src, dst
	}
	switch {
	case low >= pfstate.TCPTimeWait:
		return tcpClose, -1
	case low >= pfstate.TCPFinWait2:
		return tcpTimeWait, -1
	case low >= pfstate.TCPClosing:
		return tcpLastAck, first
	case high >= pfstate.TCPFinWait2:
		return tcpCloseWait, first
	case high >= pfstate.TCPClosing:
		return tcpFinWait, first
	case low >= pfstate.TCPEstablished:
		return tcpEstablished, -1
	case src < pfstate.TCPSynSent && dst < pfstate.TCPSynSent:
		return tcpNone, -1
	case dst < pfstate.TCPSynSent:
		return tcpSynSent, -1
	case src == pfstate.TCPSynSent && dst == pfstate.TCPSynSent:
		return tcpSynSent2, -1
	}
	return tcpSynRecv, -1
}

// importSCTP sets the state too: without one the kernel takes every packet as invalid.
func importSCTP(im *image, s *pfstate.State) {
	p := &im.sctp
	switch {
	case im.status&statusAssured != 0:
		p.state = sctpEstablished
	case im.status&statusSeenReply != 0:
		p.state = sctpCookieEchoed
	default:
		p.state = sctpCookieWait
	}
	for i, peer := range []*pfstate.Peer{&s.Src, &s.Dst} {
		if peer.Scrub.Valid {
			p.tag[i] = peer.Scrub.TSMod
		}
	}
}

// translated reports whether the reply is anything but the original reversed.
func (im *image) translated() bool { return im.reply.Tuple != im.orig.Reversed() }
