package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
	"github.com/pfsync-linux/pfsync/sync/carp"
)

// The variables that are more than a value that is kept.
const (
	carpAllow    = "net.inet.carp.allow"
	carpPreempt  = "net.inet.carp.preempt"
	carpLog      = "net.inet.carp.log"
	carpDialect  = "net.inet.carp.dialect"
	carpDemotion = "net.inet.carp.demotion"
	carpIfdown   = "net.inet.carp.ifdown_demotion_factor"
	carpSenderr  = "net.inet.carp.senderr_demotion_factor"
	pfsyncFactor = "net.pfsync.carp_demotion_factor"
)

// Sysctls returns the values of the variables. It is the control.Node's.
func (n *Node) Sysctls() ([]sysctl.Setting, error) {
	demotion, err := n.demotion()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []sysctl.Setting
	for _, v := range sysctl.Variables() {
		if !kept(v) {
			continue
		}
		value := n.sysctl(v)
		if v.Name == carpDemotion {
			value = demotion
		}
		list = append(list, sysctl.Setting{Name: v.Name, Value: value})
	}
	return list, nil
}

// demotion is the whole of the group carp.
func (n *Node) demotion() (int64, error) {
	list, err := n.Demotion()
	for _, d := range list {
		if d.Group == "carp" {
			return int64(d.Count), err
		}
	}
	return 0, err
}

// kept tells whether the variable's value is the daemon's business.
func kept(v sysctl.Variable) bool { return v.Linux == "" && !v.Opaque }

// sysctl is a variable's value; n.mu is held.
func (n *Node) sysctl(v sysctl.Variable) int64 {
	if value, set := n.sysctls[v.Name]; set {
		return value
	}
	return v.Default
}

// SetSysctl sets a variable and returns what it was. It is the control.Node's.
func (n *Node) SetSysctl(s sysctl.Setting) (old int64, err error) {
	if err := s.Validate(); err != nil {
		return 0, err
	}
	v, _ := sysctl.Lookup(s.Name)
	if !kept(v) {
		return 0, fmt.Errorf("%s: is Linux's own %s", s.Name, v.Linux)
	}
	if s.Name == carpDemotion {
		return n.addDemotion(int(s.Value))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old = n.sysctl(v); old == s.Value {
		return old, nil
	}
	n.sysctls[s.Name] = s.Value
	if err := errors.Join(n.setOptions(), n.useSysctl(s.Name, s.Value)); err != nil {
		n.sysctls[s.Name] = old
		return old, err
	}
	n.log.Info("sysctl set", "name", s.Name, "old", old, "value", s.Value)
	return old, nil
}

// addDemotion is what FreeBSD does when its variable is written.
func (n *Node) addDemotion(count int) (old int64, err error) {
	if n.host == nil {
		return 0, n.errNoCarp(carpDemotion)
	}
	if old, err = n.demotion(); err != nil {
		return 0, err
	}
	n.log.Info("demotion set", "group", "carp", "change", count)
	return old, n.host.Demote("carp", count)
}

// setOptions tells carp what the variables say; n.mu is held.
func (n *Node) setOptions() error {
	if n.host == nil {
		return nil
	}
	value := func(name string) int {
		v, _ := sysctl.Lookup(name)
		return int(n.sysctl(v))
	}
	o := carp.Options{
		Allow: value(carpAllow) != 0, Preempt: value(carpPreempt) != 0, Log: value(carpLog), Dialect: carp.Dialect(value(carpDialect)),
		IfdownFactor: value(carpIfdown), SenderrFactor: value(carpSenderr),
	}
	if err := n.host.SetOptions(o); err != nil {
		return err
	}
	n.shares.rules(o.Dialect, value(pfsyncFactor))
	return nil
}

// shares are pfsync's parts in the demotion of the group carp. The engine's goroutine sets
// them and must not wait for others, so they have a lock of their own.
type shares struct {
	set func(group, reason string, count int) // nil: there is no carp

	mu             sync.Mutex
	dialect        carp.Dialect
	factor         int // FreeBSD's
	bulk, linkDown bool
	held           bool      // by netstart
	until          time.Time // it is held
	timer          *time.Timer
}

// The reasons, in the words of the BSDs' logs.
const (
	shareBulk = "pfsync bulk"
	shareLink = "pfsync link"
	shareHold = "netstart"
)

// OpenBSD's numbers: a fresh firewall is much less fit, one without a sync link a little.
const (
	bulkDemotion = 32
	linkDemotion = 1
	holdDemotion = 128 // as OpenBSD's rc(8) until the boot is over
)

const freebsdHold = 240 // FreeBSD's largest advskew

func (s *shares) rules(d carp.Dialect, factor int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialect, s.factor = d, factor
	s.tell()
}

func (s *shares) demote(bulk, linkDown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bulk, s.linkDown = bulk, linkDown
	s.tell()
}

// hold demotes until d is over, and calls over then.
func (s *shares) hold(d time.Duration, over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop() // one that runs already finds another until
	}
	s.held, s.until = true, time.Now().Add(d)
	s.timer = time.AfterFunc(d, func() {
		if s.expire() {
			over()
		}
	})
	s.tell()
}

func (s *shares) expire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held || time.Now().Before(s.until) {
		return false
	}
	s.held = false
	s.tell()
	return true
}

// end is for those who end: no timer is left.
func (s *shares) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.held = false
}

func (s *shares) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// tell brings carp up to date. FreeBSD's pfsync demotes for the bulk update only. s.mu is held, so
// that the last word is the last one.
func (s *shares) tell() {
	if s.set == nil {
		return
	}
	bulk, down := 0, 0
	switch {
	case s.dialect == carp.FreeBSD && s.bulk:
		bulk = s.factor
	case s.dialect == carp.OpenBSD && s.bulk:
		bulk = bulkDemotion
	}
	if s.dialect == carp.OpenBSD && s.linkDown {
		down = linkDemotion
	}
	hold := 0
	switch {
	case s.held && s.dialect == carp.FreeBSD:
		hold = freebsdHold
	case s.held:
		hold = holdDemotion
	}
	s.set("carp", shareBulk, bulk)
	s.set("carp", shareLink, down)
	s.set("carp", shareHold, hold)
}
