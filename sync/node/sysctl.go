package node

import (
	"fmt"

	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

// Sysctls returns the values of the variables. It is the control.Node's. What carp will use is
// kept until it does.
func (n *Node) Sysctls() ([]sysctl.Setting, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []sysctl.Setting
	for _, v := range sysctl.Variables() {
		if kept(v) {
			list = append(list, sysctl.Setting{Name: v.Name, Value: n.sysctl(v)})
		}
	}
	return list, nil
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
	n.mu.Lock()
	defer n.mu.Unlock()
	if old = n.sysctl(v); old != s.Value {
		if err := n.useSysctl(s.Name, s.Value); err != nil {
			return 0, err
		}
		n.sysctls[s.Name] = s.Value
		n.log.Info("sysctl set", "name", s.Name, "old", old, "value", s.Value)
	}
	return old, nil
}
