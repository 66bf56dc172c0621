package hostname

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
)

// file makes steps of the lines of one file.
type file struct {
	name  string // of the interface
	place plan.Place
	steps []plan.Step
	// dest is where a line `dest` puts its address: behind word number dest-1 of the last step. 0: nowhere.
	dest int
}

// line reads one line, with those that it continues on.
func (f *file) line(text string) error {
	if command, ok := strings.CutPrefix(strings.TrimLeft(text, " \t"), "!"); ok {
		f.dest = 0
		return f.shell(command)
	}
	words, err := split(text)
	if err != nil || len(words) == 0 {
		return err
	}
	if words[0] == "dest" {
		return f.destination(words)
	}
	f.dest = 0
	first, rest := words[0], words[1:]
	switch {
	case (first == "inet" || first == "inet6") && len(rest) == 0:
		return nil // as on BSD
	case first == "dhcp" || first == "inet" && rest[0] == "autoconf":
		if first == "inet" {
			rest = rest[1:]
		}
		rest = slices.DeleteFunc(slices.Clone(rest), func(w string) bool { return w == none }) // of the old form
		f.ifconfig(append(rest, "up")...)
		f.add(plan.Step{Do: plan.DHCP})
		return nil
	case first == "rtsol" && len(rest) == 0:
		f.ifconfig("inet6", "autoconf")
		return nil
	case first == "inet":
		return f.inet(rest)
	case first == "inet6":
		return f.inet6(rest)
	}
	f.ifconfig(words...)
	return nil
}

func (f *file) add(s plan.Step) {
	s.Place, s.Interface = f.place, f.name
	f.steps = append(f.steps, s)
}

func (f *file) ifconfig(words ...string) { f.add(plan.Step{Do: plan.Ifconfig, Words: words}) }

// none is written where there is no broadcast address.
const none = "NONE"

// inet reads what stands behind inet. As on BSD the position of a word tells what it is.
func (f *file) inet(words []string) error {
	out, words := f.alias("inet", words)
	if len(words) == 0 {
		return errors.New("inet alias: no address")
	}
	if passedOn(words[0]) {
		f.ifconfig(append(out, words...)...)
		return nil
	}
	addr, words := words[0], words[1:]
	out = append(out, addr)
	dest := len(out)
	length := strings.Contains(addr, "/")
	if !length && len(words) > 0 {
		switch ok := isMask(words[0]); {
		case !ok && words[0] == none:
			return fmt.Errorf("inet %s: %s stands in the place of the netmask (write 255.255.255.0, 0xffffff00 or /24 before it)", ifconfig.Shown(addr), none)
		case !ok:
			return fmt.Errorf("inet %s: %s is no netmask (write 255.255.255.0, 0xffffff00 or /24)", ifconfig.Shown(addr), ifconfig.Shown(words[0]))
		case words[0][0] == '/':
			out[dest-1] = addr + words[0]
		default:
			out = append(out, "netmask", words[0])
		}
		words = words[1:]
	} else if length && len(words) > 0 {
		if isMask(words[0]) {
			return fmt.Errorf("inet %s: both prefix and mask; leave %s out", ifconfig.Shown(addr), ifconfig.Shown(words[0]))
		}
	}
	if len(words) > 0 {
		quad, err := netip.ParseAddr(words[0])
		switch {
		case words[0] == none:
			words = words[1:]
		case err == nil && quad.Is4():
			out = append(out, "broadcast", words[0])
			words = words[1:]
		case !length:
			return fmt.Errorf("inet %s: %s is no broadcast address (%s if there is none, options behind it)", ifconfig.Shown(addr), ifconfig.Shown(words[0]), none)
		}
	}
	f.ifconfig(append(out, words...)...)
	f.dest = dest
	return nil
}

// inet6 reads what stands behind inet6.
func (f *file) inet6(words []string) error {
	out, words := f.alias("inet6", words)
	if len(words) == 0 {
		return errors.New("inet6 alias: no address")
	}
	if passedOn(words[0]) || !strings.Contains(words[0], ":") {
		f.ifconfig(append(out, words...)...) // autoconf, eui64
		return nil
	}
	addr, words := words[0], words[1:]
	out = append(out, addr)
	dest := len(out)
	if !strings.Contains(addr, "/") && len(words) > 0 {
		n, err := strconv.ParseUint(words[0], 10, 8)
		if err != nil || n > 128 {
			return fmt.Errorf("inet6 %s: %s is no prefix length (0 to 128)", ifconfig.Shown(addr), ifconfig.Shown(words[0]))
		}
		out = append(out, "prefixlen", words[0])
		words = words[1:]
	}
	f.ifconfig(append(out, words...)...)
	f.dest = dest
	return nil
}

// alias takes the word alias off words, and begins a command with the family. Addresses of lo are
// always added: the system's own ones stay.
func (f *file) alias(family string, words []string) (out, rest []string) {
	if words[0] == "alias" {
		return []string{family, "alias"}, words[1:]
	}
	if f.name == "lo" && !passedOn(words[0]) {
		return []string{family, "alias"}, words
	}
	return []string{family}, words
}

// passedOn tells of a word that takes an address away: the rest of the line is ifconfig's.
func passedOn(word string) bool {
	return word == "-alias" || word == "delete" || word == "remove"
}

// isMask tells of a netmask in one of its spellings: 255.255.255.0, 0xffffff00 or /24.
func isMask(word string) bool {
	if length, slash := strings.CutPrefix(word, "/"); slash {
		n, err := strconv.ParseUint(length, 10, 8)
		return err == nil && n <= 32
	}
	var mask uint32
	if m, err := netip.ParseAddr(word); err == nil && m.Is4() {
		for _, b := range m.As4() {
			mask = mask<<8 | uint32(b)
		}
	} else if digits, hex := strings.CutPrefix(strings.ToLower(word), "0x"); hex {
		m, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			return false
		}
		mask = uint32(m)
	} else {
		return false
	}
	host := ^mask
	return host&(host+1) == 0 // ones, then zeros
}

// destination gives the address of the line before its other end.
func (f *file) destination(words []string) error {
	switch {
	case len(words) != 2:
		return errors.New("dest: takes one address")
	case f.dest == 0:
		return fmt.Errorf("dest %s: there is no address on the line before", ifconfig.Shown(words[1]))
	}
	last := &f.steps[len(f.steps)-1]
	last.Words = slices.Insert(last.Words, f.dest, words[1])
	f.dest = 0
	return nil
}

// shell reads a line that begins with '!'. $if in it, with or without a backslash, is the interface.
func (f *file) shell(command string) error {
	command = strings.TrimSpace(command)
	if command == "" {
		return errors.New("'!': no command behind it")
	}
	command, used := substitute(command, f.name)
	if used && strings.ContainsFunc(f.name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}) {
		return fmt.Errorf("$if: a shell would not take %s as a name", ifconfig.Shown(f.name))
	}
	f.add(plan.Step{Do: plan.Shell, Command: command})
	return nil
}

// substitute puts name in the place of $if, \$if and ${if}.
func substitute(command, name string) (_ string, used bool) {
	var b strings.Builder
	for command != "" {
		i := strings.IndexByte(command, '$')
		if i < 0 {
			break
		}
		before, rest := command[:i], command[i+1:]
		after, ok := strings.CutPrefix(rest, "{if}")
		if !ok {
			after, ok = strings.CutPrefix(rest, "if")
			ok = ok && (after == "" || !isWordByte(after[0]))
		}
		if !ok {
			b.WriteString(command[:i+1])
			command = rest
			continue
		}
		b.WriteString(strings.TrimSuffix(before, `\`) + name)
		command, used = after, true
	}
	return b.String() + command, used
}

func isWordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
