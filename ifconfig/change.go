package ifconfig

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
)

// Change is what one ifconfig command line asks for. A nil pointer means "not
// mentioned"; a command is applied as a whole or not at all.
type Change struct {
	Interface string      `json:"interface"`
	Create    bool        `json:"create,omitempty"`
	Destroy   bool        `json:"destroy,omitempty"`
	Up        *bool       `json:"up,omitempty"`
	MTU       *int        `json:"mtu,omitempty"`
	Syncdev   *string     `json:"syncdev,omitempty"`  // "": -syncdev
	Syncpeer  *netip.Addr `json:"syncpeer,omitempty"` // the zero Addr: -syncpeer
	MaxUpd    *int        `json:"maxupd,omitempty"`
	Defer     *bool       `json:"defer,omitempty"`
	Listen    *bool       `json:"listen,omitempty"`  // send nothing at all
	Version   *string     `json:"version,omitempty"` // "": -version, that of the first BSD heard
	Pair      *bool       `json:"pair,omitempty"`
	Key       *Key        `json:"-"`              // the zero Key: -key; sync/control sends it by itself
	Bulk      bool        `json:"bulk,omitempty"` // ask the peers for their whole tables, after all else
	Push      bool        `json:"push,omitempty"` // tell the peers this whole table, after all else
	Carp      *CarpChange `json:"carp,omitempty"`

	Linux `json:"-"`

	// Warnings are sentences about words that were accepted and will not do all they
	// do on BSD. Who has the Change applied prints them.
	Warnings []string `json:"-"`
}

// Linux is the part of a Change that the kernel applies: pfsyncd knows nothing of it. For
// pfsync0 there are Description, Group and Ungroup only, for carp interfaces nothing.
type Linux struct {
	Description *string // "": -description
	Group       *string
	Ungroup     *string // -group
	LLAddr      *string // 52:54:00:aa:00:01, or RandomLLAddr
	ARP         *bool
	Promisc     *bool
	Rename      *string         // name
	VNetID      *int            // vlan interfaces: the tag
	Parent      *string         // vlan interfaces: what carries the tagged packets
	Patch       *string         // pair interfaces: the other end
	Add, Del    []string        // bridge interfaces: members
	Autoconf    *bool           // inet6 autoconf
	NoInet6     bool            // -inet6
	Addresses   []AddressChange // in the order of the command line, after all else
}

// RandomLLAddr is the link-layer address that is made up when it is set.
const RandomLLAddr = "random"

// Interface is what the display shows of one interface. PFSync is set for pfsync0, Carp for a carp
// interface, VHIDs for one that carries some.
type Interface struct {
	Name        string    `json:"name"`
	AltNames    []string  `json:"altnames,omitempty"` // other names that Linux knows it by
	Index       int       `json:"index"`
	Flags       Flags     `json:"flags"`
	MTU         int       `json:"mtu"`
	LLAddr      string    `json:"lladdr,omitempty"`
	Description string    `json:"description,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Media       string    `json:"media,omitempty"`
	Status      string    `json:"status,omitempty"`
	Inet        []Address `json:"inet,omitempty"`
	Inet6       []Address `json:"inet6,omitempty"`
	PFSync      *PFSync   `json:"pfsync,omitempty"`
	Carp        *Carp     `json:"carp,omitempty"`
	VHIDs       []Carp    `json:"vhids,omitempty"`
}

// Address is one address of an interface.
type Address struct {
	Prefix    netip.Prefix `json:"prefix"`
	Peer      netip.Addr   `json:"peer,omitzero"`
	Broadcast netip.Addr   `json:"broadcast,omitzero"`
	ScopeID   int          `json:"scopeid,omitempty"` // IPv6 link-local: the interface index
	Marks     []string     `json:"marks,omitempty"`   // IPv6: tentative, deprecated, ...
	PLTime    *uint32      `json:"pltime,omitempty"`  // IPv6: seconds for which it is preferred; nil: for ever
	VLTime    *uint32      `json:"vltime,omitempty"`  // IPv6: seconds for which it is valid; nil: for ever
}

// PFSync is the pfsync part of pfsync0's display.
type PFSync struct {
	Syncdev  string     `json:"syncdev,omitempty"`
	Syncpeer netip.Addr `json:"syncpeer,omitzero"` // zero: the multicast group
	MaxUpd   int        `json:"maxupd"`
	Defer    bool       `json:"defer"`
	Listen   bool       `json:"listen,omitempty"`       // nothing at all is sent
	Version  string     `json:"version,omitempty"`      // in which states are sent
	From     string     `json:"version_from,omitempty"` // why: VersionSet, VersionLearnt; "": nothing else is known
	Pair     *bool      `json:"pair,omitempty"`         // nil: while a BSD is heard

	DeferState DeferState `json:"deferstate,omitempty"` // "": off, or a daemon that does not tell
	Key        KeyState   `json:"key,omitempty"`
	SyncOK     bool       `json:"syncok"`
	Creator    uint32     `json:"creatorid"`
	Peers      []Peer     `json:"peers,omitzero"` // nil: a daemon that does not tell of them
}

// Why pfsync0 has its version.
const (
	VersionSet    = "set"
	VersionLearnt = "learnt"
)

// MarshalJSON writes the creatorid as CreatorID does.
func (p PFSync) MarshalJSON() ([]byte, error) {
	type plain PFSync
	return json.Marshal(struct {
		plain
		Creator CreatorID `json:"creatorid"`
	}{plain(p), CreatorID(p.Creator)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *PFSync) UnmarshalJSON(b []byte) error {
	type plain PFSync
	var in struct {
		plain
		Creator CreatorID `json:"creatorid"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*p = PFSync(in.plain)
	p.Creator = uint32(in.Creator)
	return nil
}

// CreatorID is a creatorid as text and JSON have it: 8 hexadecimal digits, as pfctl prints it.
type CreatorID uint32

func (id CreatorID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// MarshalText is String.
func (id CreatorID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *CreatorID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || len(text) != 8 {
		return fmt.Errorf("creatorid %s: not 8 hexadecimal digits", Shown(string(text)))
	}
	*id = CreatorID(n)
	return nil
}

// Flags are an interface's flags in OpenBSD's bits (net/if.h).
type Flags uint32

// Bits of Flags, in the order of their printing.
const (
	FlagUp           Flags = 0x1
	FlagBroadcast    Flags = 0x2
	FlagDebug        Flags = 0x4
	FlagLoopback     Flags = 0x8
	FlagPointToPoint Flags = 0x10
	FlagRunning      Flags = 0x40
	FlagNoARP        Flags = 0x80
	FlagPromisc      Flags = 0x100
	FlagAllMulti     Flags = 0x200
	FlagSimplex      Flags = 0x800
	FlagMulticast    Flags = 0x8000
	FlagAutoconf6    Flags = 0x200000
)
