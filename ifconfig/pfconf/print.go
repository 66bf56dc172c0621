package pfconf

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/pfstate"
)

// String is the ruleset as a pf.conf that parses to the same Ruleset: settings, tables, rules, one to a line.
func (r *Ruleset) String() string {
	var b strings.Builder
	if r.HostID != 0 {
		fmt.Fprintf(&b, "set hostid 0x%08x\n", r.HostID)
	}
	if r.MaxStates != 0 {
		fmt.Fprintf(&b, "set limit states %d\n", r.MaxStates)
	}
	if len(r.SkipOn) > 0 {
		fmt.Fprintf(&b, "set skip on { %s }\n", strings.Join(r.SkipOn, " "))
	}
	if r.Mark.Mask != 0 {
		fmt.Fprintf(&b, "set no-sync mark %v\n", r.Mark)
	}
	for _, t := range r.Tables {
		b.WriteString(t.String() + "\n")
	}
	for _, rule := range r.Rules {
		b.WriteString(rule.String() + "\n")
	}
	return b.String()
}

// String prints value/mask in hexadecimal.
func (m Mark) String() string { return fmt.Sprintf("0x%x/0x%x", m.Value, m.Mask) }

// String is the table as a line of pf.conf.
func (t Table) String() string {
	if len(t.Entries) == 0 {
		return "table <" + t.Name + "> persist"
	}
	var b strings.Builder
	b.WriteString("table <" + t.Name + "> {")
	for _, e := range t.Entries {
		b.WriteByte(' ')
		if e.Not {
			b.WriteByte('!')
		}
		b.WriteString(address(e.Prefix.Addr().String(), e.Prefix.Bits(), e.Prefix.Addr().BitLen()))
	}
	b.WriteString(" }")
	return b.String()
}

func address(addr string, bits, all int) string {
	if bits == all {
		return addr
	}
	return addr + "/" + strconv.Itoa(bits)
}

// String is the rule as pfctl -sr prints it.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(string(r.Action))
	if r.Direction != "" {
		b.WriteString(" " + string(r.Direction))
	}
	if r.Quick {
		b.WriteString(" quick")
	}
	if r.On.Name != "" {
		b.WriteString(" on ")
		if r.On.Not {
			b.WriteString("! ")
		}
		b.WriteString(r.On.Name)
	}
	if r.Family != "" {
		b.WriteString(" " + string(r.Family))
	}
	if r.Proto != 0 {
		b.WriteString(" proto " + pfstate.ProtoName(r.Proto))
	}
	if r.From == (Host{}) && r.To == (Host{}) {
		b.WriteString(" all")
	} else {
		b.WriteString(" from " + r.From.String() + " to " + r.To.String())
	}
	if r.ICMPType != 0 {
		word := " icmp-type "
		if r.Proto == pfstate.ProtoICMPv6 {
			word = " icmp6-type "
		}
		b.WriteString(word + typeName(r.Proto, uint8(r.ICMPType-1)))
	}
	switch {
	case r.NoState:
		b.WriteString(" no state")
	case r.NoSync:
		b.WriteString(" keep state (no-sync)")
	}
	if r.Label != "" {
		b.WriteString(` label "` + r.Label + `"`)
	}
	return b.String()
}

func typeName(proto, typ uint8) string {
	if n, ok := queries[proto]["echoreq"]; ok && n == typ {
		return "echoreq"
	}
	return strconv.Itoa(int(typ))
}

// String is the end as it stands behind from or to.
func (h Host) String() string {
	s := "any"
	switch {
	case h.Table != "":
		s = "<" + h.Table + ">"
	case h.Addr.IsValid():
		s = address(h.Addr.Addr().String(), h.Addr.Bits(), h.Addr.Addr().BitLen())
	}
	if h.Not {
		s = "! " + s
	}
	if h.Ports != (Ports{}) {
		s += " port " + h.Ports.String()
	}
	return s
}

// String is the ports as they stand behind port.
func (p Ports) String() string {
	switch {
	case p.First == p.Last && p.Not:
		return fmt.Sprintf("!= %d", p.First)
	case p.First == p.Last:
		return fmt.Sprintf("= %d", p.First)
	case p.Not:
		return fmt.Sprintf("%d <> %d", p.First, p.Last)
	}
	return fmt.Sprintf("%d:%d", p.First, p.Last)
}
