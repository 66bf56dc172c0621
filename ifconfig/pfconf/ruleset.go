package pfconf

import (
	"net/netip"
	"reflect"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// Ruleset is a pf.conf: what is left of it when macros, lists and names are resolved.
type Ruleset struct {
	HostID    uint32   `json:"hostid,omitzero"` // creatorid; 0: not set
	MaxStates uint32   `json:"states,omitzero"` // "limit states"; 0: not set
	Mark      Mark     `json:"mark,omitzero"`   // connections with it are not synchronised
	SkipOn    []string `json:"skip,omitempty"`  // as written; interfaces are not judged
	Tables    []Table  `json:"tables,omitempty"`
	Rules     []Rule   `json:"rules,omitempty"`
}

// Equal tells whether both have the same settings, tables and rules in the same order.
func (r *Ruleset) Equal(o *Ruleset) bool { return reflect.DeepEqual(r, o) }

// Mark is a value of the connection's mark under a mask. Mask 0 means none.
type Mark struct {
	Value uint32 `json:"value"`
	Mask  uint32 `json:"mask"`
}

// Table is a set of addresses. The longest prefix that holds an address decides.
type Table struct {
	Name    string  `json:"name"`
	Entries []Entry `json:"entries,omitempty"` // sorted, each prefix once
}

// Entry is one prefix of a table; with Not its addresses are none of the table's.
type Entry struct {
	Prefix netip.Prefix `json:"prefix"`
	Not    bool         `json:"not,omitzero"`
}

// Action is what a rule does: Pass decides, Match adds its no-sync to what is decided.
type Action string

const (
	Pass  Action = "pass"
	Match Action = "match"
)

// Family is an address family, or "" for both.
type Family string

const (
	Inet  Family = "inet"
	Inet6 Family = "inet6"
)

// Direction restricts a rule to one way through the firewall; "" is both.
type Direction string

const (
	In  Direction = "in"
	Out Direction = "out"
)

// Rule is one rule without lists. Zero fields restrict nothing. Rules compare with ==.
type Rule struct {
	Action    Action    `json:"action"`
	Direction Direction `json:"direction,omitzero"`
	Quick     bool      `json:"quick,omitzero"`
	On        Interface `json:"on,omitzero"`
	Family    Family    `json:"family,omitzero"`
	Proto     uint8     `json:"proto,omitzero"`
	From      Host      `json:"from,omitzero"`
	To        Host      `json:"to,omitzero"`
	ICMPType  uint16    `json:"icmptype,omitzero"` // the type plus 1, as in pf
	NoState   bool      `json:"nostate,omitzero"`  // "no state": never synchronised either
	NoSync    bool      `json:"nosync,omitzero"`
	Label     string    `json:"label,omitzero"`
}

// Interface is the interface or group of an "on".
type Interface struct {
	Name string `json:"name"`
	Not  bool   `json:"not,omitzero"`
}

// Host is one end of a connection: addresses, or a table, or all; and ports.
type Host struct {
	Not   bool         `json:"not,omitzero"` // of the addresses, not of the ports
	Addr  netip.Prefix `json:"addr,omitzero"`
	Table string       `json:"table,omitzero"`
	Ports Ports        `json:"ports,omitzero"`
}

// Ports are the ports from First to Last, or with Not all others. The zero value is all ports.
type Ports struct {
	First uint16 `json:"first,omitzero"`
	Last  uint16 `json:"last,omitzero"`
	Not   bool   `json:"not,omitzero"`
}

// Judged tells whether the rule can be judged by what conntrack knows of a connection:
// neither its interfaces nor whether it was forwarded.
func (r *Rule) Judged() bool { return r.On.Name == "" && r.Direction == "" }

// excluded tells whether connections of this protocol are never synchronised, whatever the rules say:
// carp's and pfsync's own packets, and multicast membership, which belong to this box alone.
func excluded(proto uint8) bool {
	return proto == pfstate.ProtoPFSync || proto == pfstate.ProtoCARP || proto == pfstate.ProtoIGMP
}

// keeps tells whether the rule lets the connections it decides on be synchronised.
func (r *Rule) keeps() bool { return !r.NoSync && !r.NoState }
