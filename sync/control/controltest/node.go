// Package controltest has a daemon's Node made of memory, for those who test what
// talks to the control socket.
package controltest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/pfconf"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/pfstate"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// Node has a pfsync0 that takes every setting and does nothing. It starts as the
// daemon's does: existing, down and unconfigured.
type Node struct {
	// Refuse, if set, is asked before a Change is applied.
	Refuse func(ifconfig.Change) error
	// Fail, if set, is asked before States shows those from the place next on.
	Fail func(next int) error

	mu       sync.Mutex
	pfsync0  *ifconfig.Interface // nil: destroyed
	changes  []ifconfig.Change
	peers    []ifconfig.Peer
	sysctls  map[string]int64
	states   []pfstate.State
	ruleset  pfconf.Ruleset
	disabled bool

	carps       []ifconfig.Interface
	demoted     int
	events      []string
	yields      int
	transitions []ifconfig.Transition
	told        chan struct{} // closed by the next transition
}

// NewNode returns a node as it is after the daemon's start.
func NewNode() *Node { return &Node{pfsync0: fresh(), sysctls: map[string]int64{}} }

func fresh() *ifconfig.Interface {
	return &ifconfig.Interface{Name: "pfsync0", Index: 9, MTU: 1500, Groups: []string{"carp", "pfsync"}, Status: "no syncdev",
		PFSync: &ifconfig.PFSync{MaxUpd: 128, Creator: 0x1a2b3c4d}}
}

// Hear makes these the peers that the node shows, whether it is up or not.
func (n *Node) Hear(peers ...ifconfig.Peer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = peers
}

// RefuseAll makes the node refuse every change from now on, also while it serves.
func (n *Node) RefuseAll(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Refuse = func(ifconfig.Change) error { return err }
}

// Changes lists what was asked for so far, refusals included.
func (n *Node) Changes() []ifconfig.Change {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]ifconfig.Change(nil), n.changes...)
}

// Change implements control.Node.
func (n *Node) Change(c ifconfig.Change) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes, n.events = append(n.changes, c), append(n.events, c.Interface)
	if n.Refuse != nil {
		if err := n.Refuse(c); err != nil {
			return err
		}
	}
	if c.Interface != "pfsync0" {
		return n.changeCarp(c)
	}
	switch {
	case c.Create && n.pfsync0 != nil:
		return errors.New("pfsync0: SIOCIFCREATE: File exists")
	case c.Destroy && n.pfsync0 == nil:
		return fmt.Errorf("pfsync0: %w", ifconfig.ErrNoInterface)
	case c.Bulk && c.Up == nil && (n.pfsync0 == nil || n.pfsync0.Flags&ifconfig.FlagUp == 0):
		return errors.New("pfsync0: bulk: the interface is down (ifconfig pfsync0 up)")
	case c.Push && c.Up == nil && (n.pfsync0 == nil || n.pfsync0.Flags&ifconfig.FlagUp == 0):
		return errors.New("pfsync0: push: the interface is down (ifconfig pfsync0 up)")
	case c.Destroy:
		n.pfsync0 = nil
		return nil
	case n.pfsync0 == nil:
		n.pfsync0 = fresh() // setting something creates it, as on OpenBSD
	}
	n.apply(c)
	return nil
}

func (n *Node) apply(c ifconfig.Change) {
	i, p := n.pfsync0, n.pfsync0.PFSync
	if c.Syncdev != nil {
		p.Syncdev = *c.Syncdev
	}
	if c.Syncpeer != nil {
		p.Syncpeer = *c.Syncpeer
	}
	if c.MaxUpd != nil {
		p.MaxUpd = *c.MaxUpd
	}
	if c.Version != nil {
		p.Version, p.From = *c.Version, ifconfig.VersionSet
		if p.Version == "" {
			p.From = ""
		}
	}
	if c.Pair != nil {
		p.Pair = c.Pair
	}
	if c.Defer != nil {
		p.Defer = *c.Defer
	}
	if c.Listen != nil {
		p.Listen = *c.Listen
	}
	if c.Key != nil {
		p.Key = ifconfig.KeyOn
		if c.Key.Secret() == nil {
			p.Key = ifconfig.KeyOff
		}
	}
	if c.MTU != nil {
		i.MTU = *c.MTU
	}
	if c.Up != nil {
		i.Flags &^= ifconfig.FlagUp
		if *c.Up {
			i.Flags |= ifconfig.FlagUp
		}
	}
	i.Flags &^= ifconfig.FlagRunning
	i.Status = "no syncdev"
	p.SyncOK = false
	if p.Syncdev != "" {
		i.Status = "no carrier"
		if i.Flags&ifconfig.FlagUp != 0 {
			i.Flags |= ifconfig.FlagRunning
			i.Status = "active"
			p.SyncOK = true
		}
	}
}

// Interfaces implements control.Node.
func (n *Node) Interfaces() ([]ifconfig.Interface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pfsync0 == nil {
		return append([]ifconfig.Interface{}, n.shownCarps()...), nil
	}
	i := *n.pfsync0
	p := *i.PFSync
	p.Peers = append([]ifconfig.Peer{}, n.peers...)
	i.PFSync = &p
	return append([]ifconfig.Interface{i}, n.shownCarps()...), nil
}

// Counters implements control.Node.
func (n *Node) Counters() ([]pfstate.Counter, error) {
	return []pfstate.Counter{{Name: "ipackets", Help: "packets received (IPv4)", Value: 812}}, nil
}

// Histograms implements control.Node.
func (n *Node) Histograms() ([]pfstate.Histogram, error) { return nil, nil }

// Peers implements control.Node.
func (n *Node) Peers() ([]ifconfig.Peer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]ifconfig.Peer{}, n.peers...), nil
}

// Status implements control.Node.
func (n *Node) Status() (control.Status, error) {
	peers, err := n.Peers()
	return control.Status{
		Table: "memory", Creator: 0x1a2b3c4d, States: control.States{Local: 3, Imported: 4}, Bulk: "done", Peers: peers,
	}, err
}

// Sysctls implements control.Node.
func (n *Node) Sysctls() ([]sysctl.Setting, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []sysctl.Setting
	for _, v := range sysctl.Variables() {
		if v.Linux == "" && !v.Opaque {
			list = append(list, sysctl.Setting{Name: v.Name, Value: n.value(v)})
		}
	}
	return list, nil
}

func (n *Node) value(v sysctl.Variable) int64 {
	if value, set := n.sysctls[v.Name]; set {
		return value
	}
	return v.Default
}

// SetSysctl implements control.Node.
func (n *Node) SetSysctl(s sysctl.Setting) (old int64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, _ := sysctl.Lookup(s.Name)
	old = n.value(v)
	n.sysctls[s.Name] = s.Value
	return old, nil
}
