package ifconfig

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// flagNames gives the printed names in the order of their bits (OpenBSD net/if.h, IFFBITS).
var flagNames = []struct {
	flag Flags
	name string
}{
	{FlagUp, "UP"},
	{FlagBroadcast, "BROADCAST"},
	{FlagDebug, "DEBUG"},
	{FlagLoopback, "LOOPBACK"},
	{FlagPointToPoint, "POINTOPOINT"},
	{FlagRunning, "RUNNING"},
	{FlagNoARP, "NOARP"},
	{FlagPromisc, "PROMISC"},
	{FlagAllMulti, "ALLMULTI"},
	{FlagSimplex, "SIMPLEX"},
	{FlagMulticast, "MULTICAST"},
	{FlagAutoconf6, "AUTOCONF6"},
}

// Names lists the flags that are set, in the order of their bits.
func (f Flags) Names() []string {
	names := []string{}
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// String prints the flags word of the display: 8843<UP,BROADCAST,...>.
func (f Flags) String() string { return fmt.Sprintf("%x<%s>", uint32(f), strings.Join(f.Names(), ",")) }

// carpPriority is OpenBSD's default priority of routes over carp interfaces (RTP_CARP less RTP_STATIC and its kin).
const carpPriority = 15

// llPrio is OpenBSD's default priority of packets on a link (IFQ_DEFPRIO); Linux has no such setting.
const llPrio = 3

// Print shows interfaces as the ifconfig of that style does. The zero Style is StyleBoth. The
// error is w's.
func Print(w io.Writer, interfaces []Interface, style Style) error {
	var b strings.Builder
	for i := range interfaces {
		if style == StyleFreeBSD {
			interfaces[i].printFreeBSD(&b)
		} else {
			interfaces[i].print(&b, style)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (i *Interface) print(b *strings.Builder, style Style) {
	fmt.Fprintf(b, "%s: flags=%v mtu %d\n", Shown(i.Name), i.Flags, i.MTU)
	if i.LLAddr != "" {
		fmt.Fprintf(b, "\tlladdr %s\n", i.LLAddr)
	}
	if i.Description != "" {
		fmt.Fprintf(b, "\tdescription: %s\n", Shown(i.Description))
	}
	priority := 0
	if i.Carp != nil {
		priority = carpPriority
	}
	fmt.Fprintf(b, "\tindex %d priority %d llprio %d\n", i.Index, priority, llPrio)
	if i.Carp != nil {
		i.Carp.print(b)
	}
	if style != StyleOpenBSD {
		i.printVHIDs(b)
	}
	if i.PFSync != nil {
		i.PFSync.print(b, style)
		i.printPeers(b, style)
	}
	if len(i.Groups) > 0 {
		fmt.Fprintf(b, "\tgroups: %s\n", strings.Join(i.Groups, " "))
	}
	if i.Media != "" {
		fmt.Fprintf(b, "\tmedia: %s\n", i.Media)
	}
	if i.Status != "" {
		fmt.Fprintf(b, "\tstatus: %s\n", i.Status)
	}
	for _, a := range i.Inet {
		a.printInet(b, "%x")
	}
	for _, a := range i.Inet6 {
		a.printInet6(b, i.Name)
	}
}

// print adds the pfsync lines. As on BSD there are none without a syncdev, but a key is named.
func (p *PFSync) print(b *strings.Builder, style Style) {
	if p.Syncdev != "" {
		p.printSettings(b, style)
	}
	if p.Listen && style != StyleOpenBSD {
		b.WriteString("\tlisten: on\n")
	}
	if p.From != "" && style != StyleOpenBSD {
		fmt.Fprintf(b, "\tversion: %s (%s)\n", p.Version, p.From)
	}
	if p.Pair != nil && style != StyleOpenBSD {
		fmt.Fprintf(b, "\tpair: %s\n", onOff(*p.Pair))
	}
	if p.keyed() && style != StyleOpenBSD {
		fmt.Fprintf(b, "\tkey: %s\n", p.Key)
	}
}

func (p *PFSync) keyed() bool { return p.Key != "" && p.Key != KeyOff }

func (p *PFSync) printSettings(b *strings.Builder, style Style) {
	fmt.Fprintf(b, "\tpfsync: syncdev: %s ", p.Syncdev)
	if p.Syncpeer.IsValid() && p.Syncpeer != multicastPeer {
		fmt.Fprintf(b, "syncpeer: %v ", p.Syncpeer)
	}
	fmt.Fprintf(b, "maxupd: %d defer: %s\n", p.MaxUpd, onOff(p.Defer))
	if style != StyleOpenBSD {
		fmt.Fprintf(b, "\tsyncok: %d\n", bit(p.SyncOK))
		p.printDefer(b)
	}
}

// printDefer adds what has become of defer.
func (p *PFSync) printDefer(b *strings.Builder) {
	if p.DeferState != "" {
		fmt.Fprintf(b, "\tdefer: %s\n", p.DeferState)
	}
}

// printPeers adds the peers, of which no BSD tells. That there are none is said when some
// could be heard.
func (i *Interface) printPeers(b *strings.Builder, style Style) {
	p := i.PFSync
	if p.Syncdev == "" || style == StyleOpenBSD {
		return
	}
	const usable = FlagUp | FlagRunning
	if p.Peers != nil && len(p.Peers) == 0 && i.Flags&usable == usable {
		b.WriteString("\tpeer: none heard\n")
	}
	for _, peer := range p.Peers {
		fmt.Fprintf(b, "\tpeer: %v\n", peer)
		for _, problem := range peer.Problems {
			fmt.Fprintf(b, "\t\tproblem: %s\n", problem)
		}
	}
}

// printInet writes the netmask in the format of the style.
func (a *Address) printInet(b *strings.Builder, format string) {
	fmt.Fprintf(b, "\tinet %v", a.Prefix.Addr())
	if a.Peer.IsValid() {
		fmt.Fprintf(b, " --> %v", a.Peer)
	}
	fmt.Fprintf(b, " netmask 0x"+format, binary.BigEndian.Uint32(net.CIDRMask(a.Prefix.Bits(), 32)))
	if a.Broadcast.IsValid() {
		fmt.Fprintf(b, " broadcast %v", a.Broadcast)
	}
	b.WriteByte('\n')
}

func (a *Address) printInet6(b *strings.Builder, name string) {
	fmt.Fprintf(b, "\tinet6 %v", a.Prefix.Addr())
	if a.ScopeID != 0 {
		fmt.Fprintf(b, "%%%s", name)
	}
	if a.Peer.IsValid() {
		fmt.Fprintf(b, " --> %v", a.Peer)
	}
	fmt.Fprintf(b, " prefixlen %d", a.Prefix.Bits())
	for _, mark := range a.Marks {
		fmt.Fprintf(b, " %s", mark)
	}
	if a.ScopeID != 0 {
		fmt.Fprintf(b, " scopeid 0x%x", a.ScopeID)
	}
	if a.PLTime != nil || a.VLTime != nil {
		fmt.Fprintf(b, " pltime %s vltime %s", seconds(a.PLTime), seconds(a.VLTime))
	}
	b.WriteByte('\n')
}

// seconds is a lifetime as the display has it.
func seconds(n *uint32) string {
	if n == nil {
		return "infty"
	}
	return strconv.FormatUint(uint64(*n), 10)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func bit(on bool) int {
	if on {
		return 1
	}
	return 0
}

// The JSON display has keys of its own, which stay when the control socket's change.
type (
	jsonDisplay struct {
		Schema     int             `json:"schema"`
		Interfaces []jsonInterface `json:"interfaces"`
	}
	jsonInterface struct {
		Name        string        `json:"name"`
		AltNames    []string      `json:"altnames,omitempty"`
		Index       int           `json:"index"`
		Flags       []string      `json:"flags"`
		FlagsHex    string        `json:"flags_hex"`
		MTU         int           `json:"mtu"`
		LLAddr      string        `json:"lladdr,omitempty"`
		Description string        `json:"description,omitempty"`
		Groups      []string      `json:"groups"`
		Media       string        `json:"media,omitempty"`
		Status      string        `json:"status,omitempty"`
		Inet        []jsonAddress `json:"inet"`
		Inet6       []jsonAddress `json:"inet6"`
		PFSync      *jsonPFSync   `json:"pfsync,omitempty"`
		Carp        []jsonCarp    `json:"carp,omitempty"`
	}
	jsonAddress struct {
		Address   netip.Addr `json:"address"`
		PrefixLen int        `json:"prefixlen"`
		Broadcast netip.Addr `json:"broadcast,omitzero"`
		Peer      netip.Addr `json:"peer,omitzero"`
		ScopeID   int        `json:"scopeid,omitempty"`
		Marks     []string   `json:"marks,omitempty"`
		PLTime    *uint32    `json:"pltime,omitempty"`
		VLTime    *uint32    `json:"vltime,omitempty"`
	}
	jsonPFSync struct {
		Syncdev    string     `json:"syncdev"`
		Syncpeer   netip.Addr `json:"syncpeer"`
		MaxUpd     int        `json:"maxupd"`
		Defer      bool       `json:"defer"`
		DeferState DeferState `json:"deferstate,omitempty"`
		Listen     bool       `json:"listen"`
		Version    string     `json:"version,omitempty"`
		From       string     `json:"version_from,omitempty"`
		Pair       *bool      `json:"pair,omitempty"`
		SyncOK     bool       `json:"syncok"`
		CreatorID  CreatorID  `json:"creatorid"`
		Key        KeyState   `json:"key"`
		Peers      []Peer     `json:"peers"`
	}
)

// PrintJSON shows interfaces for programs. Keys are only ever added within a schema number.
func PrintJSON(w io.Writer, interfaces []Interface) error {
	d := jsonDisplay{Schema: 1, Interfaces: []jsonInterface{}}
	for _, i := range interfaces {
		j := jsonInterface{
			Name: i.Name, AltNames: i.AltNames, Index: i.Index, Flags: i.Flags.Names(), FlagsHex: fmt.Sprintf("%x", uint32(i.Flags)),
			MTU: i.MTU, LLAddr: i.LLAddr, Description: i.Description, Groups: append([]string{}, i.Groups...),
			Media: i.Media, Status: i.Status, Inet: jsonAddresses(i.Inet), Inet6: jsonAddresses(i.Inet6),
		}
		if p := i.PFSync; p != nil {
			j.PFSync = &jsonPFSync{p.Syncdev, p.Syncpeer, p.MaxUpd, p.Defer, p.DeferState, p.Listen, p.Version, p.From, p.Pair, p.SyncOK, CreatorID(p.Creator), cmp.Or(p.Key, KeyOff),
				append([]Peer{}, p.Peers...)}
			if !p.Syncpeer.IsValid() {
				j.PFSync.Syncpeer = multicastPeer
			}
		}
		if i.Carp != nil {
			j.Carp = append(j.Carp, i.Carp.json())
		}
		for _, v := range i.VHIDs {
			j.Carp = append(j.Carp, v.json())
		}
		d.Interfaces = append(d.Interfaces, j)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(d)
}

func jsonAddresses(list []Address) []jsonAddress {
	out := []jsonAddress{}
	for _, a := range list {
		out = append(out, jsonAddress{a.Prefix.Addr(), a.Prefix.Bits(), a.Broadcast, a.Peer, a.ScopeID, a.Marks, a.PLTime, a.VLTime})
	}
	return out
}
