package ipsec

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Path is how packets between this host and another are protected. The zero Path stands for
// ESP in transport mode.
type Path struct {
	AH     bool
	Tunnel bool
	Here   netip.Addr // the ends, of a tunnel only
	There  netip.Addr
	ReqID  uint32 // of the SA that sends: the kernel looks for no other
}

// FindPath tells how the SAs between this host and peer protect packets; false: there are none in
// both directions. netNS is as in Config.
func FindPath(netNS int, peer netip.Addr) (Path, bool, error) {
	h, err := openHandle(netNS)
	if err != nil {
		return Path{}, false, fmt.Errorf("xfrm: %w", err)
	}
	defer h.Close()
	family := unix.AF_INET
	if peer.Is6() {
		family = unix.AF_INET6
	}
	list, err := h.XfrmStateList(family)
	if err != nil {
		return Path{}, false, fmt.Errorf("xfrm: security associations: %w", err)
	}
	var out, in []Path
	var ids []uint32 // of out
	for i := range list {
		p, src, dst := described(&list[i])
		switch {
		case list[i].Spi == 0, list[i].Ifid != 0: // being made; an xfrm interface's
		case dst == peer:
			out = append(out, p.from(src, dst))
			ids = append(ids, uint32(list[i].Reqid))
		case src == peer:
			in = append(in, p.from(dst, src))
		}
	}
	for i, p := range out {
		if slices.Contains(in, p) {
			p.ReqID = ids[i]
			return p, true, nil
		}
	}
	return Path{}, false, nil
}

func openHandle(netNS int) (*netlink.Handle, error) {
	if netNS == 0 {
		return netlink.NewHandle(unix.NETLINK_XFRM)
	}
	return netlink.NewHandleAt(netns.NsHandle(netNS), unix.NETLINK_XFRM)
}

func described(s *netlink.XfrmState) (p Path, src, dst netip.Addr) {
	src, _ = netip.AddrFromSlice(s.Src)
	dst, _ = netip.AddrFromSlice(s.Dst)
	return Path{AH: s.Proto == netlink.XFRM_PROTO_AH, Tunnel: s.Mode == netlink.XFRM_MODE_TUNNEL}, src.Unmap(), dst.Unmap()
}

// from adds the ends.
func (p Path) from(here, there netip.Addr) Path {
	if p.Tunnel {
		p.Here, p.There = here, there
	}
	return p
}

// Directions of a policy (linux/xfrm.h).
const (
	policyIn  = 0
	policyOut = 1
)

// Policies are the values of the socket option IP_XFRM_POLICY, or IPV6_XFRM_POLICY, by which a
// socket sends and takes packets along p and no others.
func (p Path) Policies(ipv6 bool) [2][]byte {
	return [2][]byte{p.policy(ipv6, policyOut, p.Here, p.There, p.ReqID), p.policy(ipv6, policyIn, p.There, p.Here, anyReqID)}
}

const anyReqID = 0 // of SAs that receive

func (p Path) policy(ipv6 bool, direction uint8, src, dst netip.Addr, reqID uint32) []byte {
	family := uint16(unix.AF_INET)
	if ipv6 {
		family = unix.AF_INET6
	}
	const forever = 1<<64 - 1
	policy := nl.XfrmUserpolicyInfo{
		Sel: nl.XfrmSelector{Family: family}, // whatever the socket sends or takes
		Lft: nl.XfrmLifetimeCfg{SoftByteLimit: forever, HardByteLimit: forever, SoftPacketLimit: forever, HardPacketLimit: forever},
		Dir: direction,
	}
	tmpl := nl.XfrmUserTmpl{
		XfrmId: nl.XfrmId{Proto: unix.IPPROTO_ESP}, Family: family, Reqid: reqID,
		Aalgos: everyBit, Ealgos: everyBit, Calgos: everyBit, // those of whatever SA there is
	}
	if p.AH {
		tmpl.XfrmId.Proto = unix.IPPROTO_AH
	}
	if p.Tunnel {
		tmpl.Mode = uint8(netlink.XFRM_MODE_TUNNEL)
		copy(tmpl.Saddr[:], src.AsSlice())
		copy(tmpl.XfrmId.Daddr[:], dst.AsSlice())
	}
	return append(policy.Serialize(), tmpl.Serialize()...)
}
