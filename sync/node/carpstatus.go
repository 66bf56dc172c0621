package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/sync/carp"
	"github.com/pfsync-linux/pfsync/sync/control"
)

// stateNames are carp's states as ifconfig has them, and its words for status.
var (
	stateNames  = [...]string{carp.Init: "INIT", carp.Backup: "BACKUP", carp.Master: "MASTER"}
	statusNames = [...]string{carp.Init: "invalid", carp.Backup: "backup", carp.Master: "master"}
)

// carpInterfaces shows the carp interfaces, in the order of their names. Their index is the kernel's to tell.
func (n *Node) carpInterfaces() ([]ifconfig.Interface, error) {
	if n.host == nil {
		return nil, nil
	}
	all, err := n.host.Status()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []ifconfig.Interface
	for _, s := range all {
		v, ours := n.carps[s.Name]
		if !ours {
			continue // it is being removed
		}
		list = append(list, n.showCarp(s, v))
	}
	return list, nil
}

func (n *Node) showCarp(s carp.Status, v vhid) ifconfig.Interface {
	i := ifconfig.Interface{
		Name: s.Name, MTU: 1500, Description: v.description, Status: statusNames[s.State],
		Flags:  ifconfig.FlagBroadcast | ifconfig.FlagSimplex | ifconfig.FlagMulticast,
		Groups: append([]string{"carp"}, slices.DeleteFunc(slices.Clone(s.Groups), func(g string) bool { return g == "carp" })...),
		Carp: &ifconfig.Carp{
			Name: s.Name, State: stateNames[s.State], CarpDev: s.CarpDev, VHID: int(s.VHID), AdvBase: s.AdvBase, AdvSkew: s.AdvSkew,
			CarpPeer: s.CarpPeer, Demotion: s.Demotion, Master: s.Master, Why: s.Why, Since: since(s.Since), Changes: s.Changes,
			NoPass: s.Pass == "", OnParent: v.onParent, Picked: v.picked,
		},
	}
	if s.Up {
		i.Flags |= ifconfig.FlagUp
	}
	if s.Up && s.State != carp.Init {
		i.Flags |= ifconfig.FlagRunning
	}
	if mtu, err := n.cfg.InterfaceMTU(s.CarpDev); err == nil {
		i.MTU = mtu
	}
	if s.VHID != 0 {
		i.LLAddr = fmt.Sprintf("00:00:5e:00:01:%02x", s.VHID)
	}
	if len(s.LLAddr) > 0 {
		i.LLAddr = s.LLAddr.String()
	}
	for _, p := range s.Addresses {
		a := ifconfig.Address{Prefix: p}
		if p.Addr().Is6() {
			i.Inet6 = append(i.Inet6, a)
			continue
		}
		a.Broadcast = ifconfig.AddressChange{Family: ifconfig.Inet, Prefix: p}.BroadcastAddr()
		i.Inet = append(i.Inet, a)
	}
	return i
}

func since(t time.Time) ifconfig.Seconds {
	if t.IsZero() {
		return 0
	}
	return ifconfig.Seconds(time.Since(t))
}

// Demotion returns the groups with what demotes them. It is the control.Node's.
func (n *Node) Demotion() ([]ifconfig.Demotion, error) {
	list := []ifconfig.Demotion{}
	if n.host == nil {
		return list, nil
	}
	groups, err := n.host.Groups()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		d := ifconfig.Demotion{Group: g.Name, Count: g.Demotion, Shares: []ifconfig.DemotionShare{}}
		for _, s := range g.Shares {
			if s.Count != 0 {
				d.Shares = append(d.Shares, ifconfig.DemotionShare{Reason: s.Reason, Count: s.Count})
			}
		}
		list = append(list, d)
	}
	if !slices.ContainsFunc(list, func(d ifconfig.Demotion) bool { return d.Group == "carp" }) {
		list = append([]ifconfig.Demotion{{Group: "carp", Shares: []ifconfig.DemotionShare{}}}, list...)
	}
	return list, nil
}

// Demote adds to what the operator has set for a group. It is the control.Node's.
func (n *Node) Demote(d ifconfig.Demote) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if n.host == nil {
		return n.errNoCarp(d.Group)
	}
	list, err := n.Demotion()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(g ifconfig.Demotion) bool { return g.Group == d.Group }) {
		return fmt.Errorf("%s: no carp interface is in this group", d.Group)
	}
	n.log.Info("demotion set", "group", d.Group, "change", d.Count)
	return n.host.Demote(d.Group, d.Count)
}

// holdGrace is how long a hold lasts when it is ended: pfsync0, configured right before, may not have
// demoted yet.
const holdGrace = time.Second

// HoldDemotion demotes the group carp until d is over or it is called with 0: whoever configures this firewall
// need not live to take it back. A master is left alone: it has the states. It is the control.Node's.
func (n *Node) HoldDemotion(d time.Duration) error {
	if n.host == nil {
		return n.errNoCarp("hold")
	}
	held := n.shares.holds()
	switch {
	case d == 0 && held:
		n.shares.hold(holdGrace, func() { n.log.Info("no longer demoted by netstart") })
		return nil
	case d == 0:
		return nil
	case !held:
		all, err := n.host.Status()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(s carp.Status) bool { return s.State == carp.Master }) {
			return nil
		}
		n.log.Info("demoted by netstart", "for", d)
	}
	n.shares.hold(d, func() { n.log.Warn("no longer demoted by netstart, which did not say that it is done", "after", d) })
	return nil
}

// keptTransitions is how many changes of state are kept for those who ask late.
const keptTransitions = 256

// transitions are the last changes of state.
type transitions struct {
	began time.Time

	mu    sync.Mutex
	last  uint64 // number of the newest
	list  []ifconfig.Transition
	next  chan struct{} // closed when there is another one
	ended bool
}

func newTransitions() *transitions { return &transitions{began: time.Now(), next: make(chan struct{})} }

// follow takes what a Host tells until ctx ends or the Host has no more, and calls yield
// when an address has gone elsewhere.
func (t *transitions) follow(ctx context.Context, from <-chan carp.Transition, yield func()) {
	for {
		select {
		case told, more := <-from:
			if !more {
				return
			}
			t.add(told)
			if told.Old == carp.Master {
				yield()
			}
		case <-ctx.Done():
			for { // what was told last: the bowing out
				select {
				case told, more := <-from:
					if more {
						t.add(told)
						continue
					}
				default:
				}
				return
			}
		}
	}
}

func (t *transitions) add(told carp.Transition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	t.list = append(t.list, ifconfig.Transition{
		Number: t.last, At: told.At, Name: told.Name, VHID: int(told.VHID),
		Old: stateNames[told.Old], New: stateNames[told.New], Why: told.Why,
	})
	if len(t.list) > keptTransitions {
		t.list = slices.Delete(t.list, 0, len(t.list)-keptTransitions)
	}
	t.wake()
}

// wake tells those who wait; t.mu is held.
func (t *transitions) wake() {
	close(t.next)
	t.next = make(chan struct{})
}

// end lets nobody wait any more.
func (t *transitions) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.wake()
}

func (t *transitions) after(number uint64) (answer control.Transitions, more <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	answer = control.Transitions{Began: t.began, Last: t.last, List: []ifconfig.Transition{}}
	for _, one := range t.list {
		if one.Number > number {
			answer.List = append(answer.List, one)
		}
	}
	if number < t.last {
		answer.Lost = t.last - number - uint64(len(answer.List))
	}
	if len(answer.List) > 0 || number > t.last || t.ended {
		return answer, nil
	}
	return answer, t.next
}

// Transitions returns the changes of state behind the one of that number. It is the control.Node's.
func (n *Node) Transitions(ctx context.Context, number uint64) (control.Transitions, error) {
	for {
		answer, more := n.transitions.after(number)
		if more == nil {
			return answer, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return answer, nil
		}
	}
}
