// Package hostname reads hostname.if files: how OpenBSD keeps an interface's
// configuration over a reboot. See hostname.if(5).
package hostname

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// Command is one line of a file: the words of an ifconfig command, and what they mean.
type Command struct {
	Line   int // the line it starts on, from 1
	Words  []string
	Change ifconfig.Change
}

// String prints the command as a shell takes it.
func (c Command) String() string {
	var b strings.Builder
	b.WriteString("ifconfig " + c.Change.Interface)
	for _, w := range c.Words {
		if w == "" || strings.ContainsAny(w, " \t\"'\\#;|&<>()$`*?[]~") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		b.WriteString(" " + w)
	}
	return b.String()
}

// Merge makes one Change of a file's commands, so that it is applied as a whole.
func Merge(name string, commands []Command) ifconfig.Change {
	c := ifconfig.Change{Interface: name}
	for _, cmd := range commands {
		c.Merge(cmd.Change)
	}
	return c
}

// pfsync0 is the interface that has no addresses.
const pfsync0 = "pfsync0"

// maxLine bounds a line in bytes; real ones have some dozen.
const maxLine = 4096

// Parse reads the file of the interface name. path is for errors, which start with path,
// and its line where one is to blame. Every line is checked; the first wrong one ends it.
func Parse(r io.Reader, name, path string) ([]Command, error) {
	if _, err := ifconfig.ParseWords(name, nil); err != nil { // the name itself
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var commands []Command
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	line := 0
	for in.Scan() {
		line++
		start, text := line, in.Text()
		if line == 1 && hasMark(text) {
			return nil, fmt.Errorf("%s:1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)", path)
		}
		if trimmed := strings.TrimLeft(text, " \t"); strings.HasPrefix(trimmed, "#") {
			continue // a comment is not continued
		}
		for continued(text) && in.Scan() {
			line++
			text = text[:len(text)-1] + " " + strings.TrimLeft(in.Text(), " \t")
		}
		if in.Err() != nil {
			break
		}
		cmd, err := parseLine(name, text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, start, err)
		}
		if cmd.Words != nil {
			cmd.Line = start
			commands = append(commands, cmd)
		}
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s:%d: more than %d bytes; put its words on several lines", path, line+1, maxLine)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return commands, nil
}

// hasMark reports whether the text begins with a byte order mark, which editors of Windows write.
func hasMark(text string) bool {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // UTF-8, UTF-16
		if strings.HasPrefix(text, mark) {
			return true
		}
	}
	return false
}

// continued reports whether the line's last backslash joins the next one.
func continued(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}

func parseLine(name, text string) (Command, error) {
	if command, ok := strings.CutPrefix(strings.TrimLeft(text, " \t"), "!"); ok {
		return Command{}, fmt.Errorf("'!%s': commands are not supported yet (run it from your system's boot scripts)", printable(command))
	}
	words, err := split(text)
	if err != nil || len(words) == 0 {
		return Command{}, err
	}
	if words[0] == "inet" || words[0] == "inet6" {
		if len(words) == 1 {
			return Command{}, nil // as on BSD
		}
		if name == pfsync0 {
			return Command{}, ifconfig.NoAddress(name)
		}
		return Command{}, refuseAddress(name, words)
	}
	for _, k := range keywords {
		if words[0] == k.name && name == pfsync0 {
			return Command{}, ifconfig.NoAddress(name)
		}
		if words[0] == k.name {
			return Command{}, fmt.Errorf("'%s' is not supported yet (%s)", k.name, strings.ReplaceAll(k.hint, "%i", name))
		}
	}
	c, err := ifconfig.ParseWords(name, words)
	if err != nil {
		return Command{}, err
	}
	if c.Destroy {
		return Command{}, errors.New("destroy: not in a hostname.if file")
	}
	if c.Key != nil && c.Key.File != "" && !filepath.IsAbs(c.Key.File) {
		return Command{}, fmt.Errorf("key %s: write the whole path, from / on", ifconfig.Shown(c.Key.File)) // netstart may run anywhere
	}
	return Command{Words: words, Change: c}, nil
}

// keywords are hostname.if's own first words, which are no words of ifconfig.
var keywords = []struct{ name, hint string }{
	{"dest", "use ip address add ADDRESS peer DESTINATION dev %i"},
	{"dhcp", "use your system's DHCP client"},
	{"rtsol", "use sysctl net.ipv6.conf.%i.accept_ra=1"},
}

// refuseAddress names the ip command that does what an inet or inet6 line asks for.
func refuseAddress(name string, words []string) error {
	family, rest := words[0], words[1:]
	if rest[0] == "alias" && len(rest) > 1 {
		rest = rest[1:]
	}
	hint := "use ip address add ADDRESS/LENGTH dev " + name
	switch {
	case rest[0] == "autoconf" && family == "inet":
		hint = "use your system's DHCP client"
	case rest[0] == "autoconf":
		hint = "use sysctl net.ipv6.conf." + name + ".accept_ra=1"
	default:
		if p, ok := prefix(family, rest); ok {
			hint = fmt.Sprintf("use ip address add %v dev %s", p, name)
		}
	}
	return fmt.Errorf("'%s' is not supported yet (%s)", family, hint)
}

// prefix reads the address and the mask or length of an inet or inet6 line.
func prefix(family string, words []string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(words[0]); err == nil {
		return p, true
	}
	addr, err := netip.ParseAddr(words[0])
	if err != nil || len(words) < 2 {
		return netip.Prefix{}, false
	}
	if family == "inet6" {
		n, err := strconv.Atoi(words[1])
		p := netip.PrefixFrom(addr, n)
		return p, err == nil && p.IsValid()
	}
	var mask uint32
	if m, err := netip.ParseAddr(words[1]); err == nil && m.Is4() {
		for _, b := range m.As4() {
			mask = mask<<8 | uint32(b)
		}
	} else if n, err := strconv.ParseUint(words[1], 0, 32); err == nil {
		mask = uint32(n)
	}
	n := bits.LeadingZeros32(^mask)
	return netip.PrefixFrom(addr, n), addr.Is4() && n > 0 && mask<<n == 0
}

// split makes words of a line: blanks separate them, quotes and backslashes hold them
// together, # at a word's start begins a comment. There is no shell: what only a shell
// could do is refused.
func split(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'':
			if i++; i == len(text) {
				return nil, errors.New("the backslash at the end of the file continues nothing")
			}
			word.WriteByte(text[i])
			inWord = true
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case c == '#' && !inWord:
			return words, nil
		case strings.IndexByte(";|&<>()$`", c) >= 0:
			return nil, fmt.Errorf("unexpected '%c' (there is no shell; quote it)", c)
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%c is not closed on its line", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// maxShown is how much of a command is echoed, in bytes.
const maxShown = 60

// printable is text as it may stand in an error.
func printable(text string) string {
	if len(text) > maxShown {
		return printable(text[:maxShown]) + "..."
	}
	q := strconv.QuoteToASCII(text)
	return q[1 : len(q)-1]
}
