package controltest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// Hold makes these the states of the node.
func (n *Node) Hold(states ...pfstate.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.states = states
}

// statesPart is how many states are yielded at a time.
const statesPart = 1000

// States implements control.Node.
func (n *Node) States(_ context.Context, yield func([]pfstate.State) error) error {
	n.mu.Lock()
	states, fail := n.states, n.Fail
	n.mu.Unlock()
	for next := 0; ; {
		if fail != nil {
			if err := fail(next); err != nil {
				return err
			}
		}
		end := min(next+statesPart, len(states))
		if err := yield(slices.Clone(states[next:end])); err != nil {
			return err
		}
		if next = end; next == len(states) {
			return nil
		}
	}
}

// Kill implements control.Node.
func (n *Node) Kill(k control.Kill) (control.Killed, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	match, err := k.Matcher(&n.ruleset)
	if err != nil {
		return control.Killed{}, err
	}
	before := len(n.states)
	n.states = slices.DeleteFunc(slices.Clone(n.states), func(s pfstate.State) bool { return match(&s) })
	return control.Killed{States: before - len(n.states)}, nil
}

// Flush implements control.Node.
func (n *Node) Flush() (control.Killed, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	flushed := len(n.states)
	n.states = nil
	return control.Killed{States: flushed}, nil
}

// Rules implements control.Node.
func (n *Node) Rules() (control.Rules, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return control.Rules{Enabled: !n.disabled, Ruleset: n.ruleset}, nil
}

// SetRuleset implements control.Node.
func (n *Node) SetRuleset(rs *pfconf.Ruleset) error {
	if _, err := pfconf.Compile(rs); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ruleset = *rs
	return nil
}

// Enable implements control.Node.
func (n *Node) Enable(on bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case on && !n.disabled:
		return errors.New("pf already enabled")
	case !on && n.disabled:
		return errors.New("pf not enabled")
	}
	n.disabled = !on
	return nil
}

// Info implements control.Node. It has been enabled for 761 seconds.
func (n *Node) Info() (control.Info, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info := control.Info{
		Enabled: !n.disabled, Since: ifconfig.Seconds(761 * time.Second), Creator: 0x1a2b3c4d,
		Checksum: "d41d8cd98f00b204e9800998ecf8427e", States: len(n.states), HalfOpen: 3, Limit: 262144,
	}
	for c := range pfstate.MaxTimeout {
		info.Timeouts = append(info.Timeouts, control.Timeout{Name: c.String(), Value: ifconfig.Seconds(c.Default())})
	}
	return info, nil
}

// Samples are states of each kind, for scripts: a connection that is translated at its source, one at
// its destination, one that is not, one of IPv6, an echo, and one of a BSD peer's interface.
func Samples() []pfstate.State {
	sample := func(id uint64, proto uint8, src, dst pfstate.PeerState, ends ...string) pfstate.State {
		s := pfstate.Default()
		s.ID = pfstate.ID{State: 0x6740d1c500000000 + id, Creator: 0x1a2b3c4d}
		s.Proto, s.Src.State, s.Dst.State = proto, src, dst
		s.Timeout = pfstate.TimeoutOf(proto, src, dst)
		s.Creation, s.Expire = 250*time.Second, 119*time.Hour
		s.Packets, s.Bytes = [2]uint64{210, 198}, [2]uint64{30112, 240001}
		a := [4]netip.AddrPort{}
		for i := range a {
			a[i] = netip.MustParseAddrPort(ends[i])
		}
		s.SetTuples(
			pfstate.Tuple{Src: a[0].Addr(), Dst: a[1].Addr(), SrcPort: a[0].Port(), DstPort: a[1].Port()},
			pfstate.Tuple{Src: a[2].Addr(), Dst: a[3].Addr(), SrcPort: a[2].Port(), DstPort: a[3].Port()}, 0)
		return s
	}
	const tcp, est = pfstate.ProtoTCP, pfstate.TCPEstablished
	list := []pfstate.State{
		sample(1, tcp, est, est, "192.168.0.20:40118", "198.51.100.80:443", "198.51.100.80:443", "203.0.113.9:61000"),
		sample(2, tcp, est, pfstate.TCPFinWait2, "198.51.100.7:50312", "203.0.113.9:22", "192.168.0.254:2222", "198.51.100.7:50312"),
		sample(3, tcp, pfstate.TCPSynSent, pfstate.TCPClosed, "192.168.0.20:40119", "10.9.0.1:25", "10.9.0.1:25", "192.168.0.20:40119"),
		sample(4, pfstate.ProtoUDP, pfstate.Multiple, pfstate.Single,
			"[2001:db8:1::7]:61001", "[2001:db8::53]:53", "[2001:db8::53]:53", "[2001:db8:1::7]:61001"),
		sample(5, pfstate.ProtoICMP, 0, 0, "192.168.0.20:8123", "198.51.100.80:8", "198.51.100.80:8", "192.168.0.20:8123"),
		sample(6, tcp, est, est, "192.168.0.21:40120", "10.9.0.2:80", "10.9.0.2:80", "192.168.0.21:40120"),
	}
	list[5].IfName, list[5].ID.Creator = pfstate.NewIfName("sis0"), 0x0b5b3f2a
	return list
}
