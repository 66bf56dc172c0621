package ifconfig

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrUsage is returned for options that do not exist or do not fit together; its text is the usage.
var ErrUsage = errors.New("usage: ifconfig [-aAC] [-M lladdr] [-g group] [--json] [--style openbsd|freebsd|both] [interface] [family] [words]")

// Command is one ifconfig command line. Change is set when it asks for a change; else
// Help, Cloners or Display says what to show.
type Command struct {
	Help    bool   // --help
	Cloners bool   // -C: what can be created
	LLAddr  string // -M: which interface has this link-layer address
	Group   string // -g: the demotion of this group
	Demote  *int   // and by how much it is to change
	Display Display
	Change  *Change
}

// Family names an address family as the command line does.
type Family string

// The families a display can be limited to. The zero Family is both.
const (
	Inet  Family = "inet"
	Inet6 Family = "inet6"
)

func isFamily(word string) bool { return word == string(Inet) || word == string(Inet6) }

// maxName is the longest name of an interface in bytes (IFNAMSIZ less the NUL).
const maxName = 15

// Parse reads a command line without the program's name. Nothing is looked up:
// whether interfaces exist is for those who apply the Change. Every word is checked
// before Parse returns, so a Change can be applied as a whole. The error names the word.
func Parse(args []string) (Command, error) {
	var cmd Command
	args, all, err := cmd.options(args)
	switch {
	case err != nil || cmd.Help:
		return cmd, err
	case cmd.Group != "" && (all || cmd.Cloners || cmd.LLAddr != "" || cmd.Display != Display{}):
		return cmd, fmt.Errorf("-g: goes with no other option (%w)", ErrUsage)
	case cmd.Group != "":
		return cmd, nil
	case cmd.LLAddr != "" && (len(args) > 0 || all || cmd.Cloners || cmd.Display != Display{}):
		return cmd, fmt.Errorf("-M: goes with nothing else (%w)", ErrUsage)
	case cmd.LLAddr != "":
		return cmd, nil
	case cmd.Cloners && len(args) > 0:
		return cmd, fmt.Errorf("%s: nothing goes with -C (%w)", Shown(args[0]), ErrUsage)
	case cmd.Cloners && (all || cmd.Display != Display{}):
		return cmd, fmt.Errorf("-C: goes with no other option (%w)", ErrUsage)
	case cmd.Cloners:
		return cmd, nil
	}
	if all || len(args) == 0 {
		if len(args) == 1 && isFamily(args[0]) {
			cmd.Display.Family = Family(args[0])
		} else if len(args) > 0 {
			return cmd, fmt.Errorf("%s: -a and -A take an address family only (%w)", Shown(args[0]), ErrUsage)
		}
		return cmd, nil
	}
	name, words := args[0], args[1:]
	switch {
	case name == "":
		return cmd, fmt.Errorf("interface name %s: bad value", Shown(name))
	case len(name) > maxName:
		return cmd, fmt.Errorf("interface name '%s' too long", Shown(name))
	}
	cmd.Display.Name = name
	cmd.Display.Aliases = true
	if len(words) > 0 && isFamily(words[0]) {
		cmd.Display.Family = Family(words[0])
	}
	if len(words) == 0 || len(words) == 1 && isFamily(words[0]) {
		return cmd, nil
	}
	if cmd.Display != (Display{Name: name, Aliases: true, Family: cmd.Display.Family}) {
		return cmd, fmt.Errorf("%s: --json and --style are for displays (%w)", Shown(words[0]), ErrUsage)
	}
	c, err := ParseWords(name, words)
	if err != nil && isWord(name) {
		return cmd, comesFirst(name) // it may be a name too, but then the rest would fit
	}
	if err != nil {
		return cmd, err
	}
	return Command{Change: &c}, nil
}

// options takes the leading options off args.
func (cmd *Command) options(args []string) (rest []string, all bool, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		opt, word := args[0], args[0]
		args = args[1:]
		value, hasValue := "", false
		if strings.HasPrefix(opt, "--") {
			opt, value, hasValue = strings.Cut(opt, "=")
		}
		switch {
		case isWord(opt):
			return nil, false, comesFirst(opt)
		case opt == "--help" && !hasValue:
			cmd.Help = true
		case opt == "--json" && !hasValue:
			cmd.Display.JSON = true
		case opt == "--style":
			if !hasValue {
				if len(args) == 0 {
					return nil, false, errors.New("'--style' requires argument")
				}
				value, args = args[0], args[1:]
			}
			if cmd.Display.Style, err = ParseStyle(value); err != nil {
				return nil, false, err
			}
		case opt == "-g":
			return nil, all, cmd.parseGroup(args)
		case opt == "-M" && len(args) == 0:
			return nil, false, errors.New("'-M' requires argument")
		case opt == "-M":
			if cmd.LLAddr, err = parseLLAddr(args[0]); err != nil {
				return nil, false, fmt.Errorf("-M %s: %w", Shown(args[0]), err)
			}
			args = args[1:]
		case strings.HasPrefix(opt, "--") || opt == "-":
			return nil, false, fmt.Errorf("%s: unknown option (%w)", Shown(word), ErrUsage)
		default:
			for _, letter := range opt[1:] {
				switch letter {
				case 'a':
					all = true
				case 'A':
					all, cmd.Display.Aliases = true, true
				case 'C':
					cmd.Cloners = true
				case 'h':
					cmd.Help = true
				default:
					return nil, false, fmt.Errorf("%s: unknown option (%w)", Shown(word), ErrUsage)
				}
			}
		}
	}
	return args, all, nil
}

// ParseWords reads the words behind the name of an interface: a line of hostname.if,
// or what follows the name on ifconfig's command line. The first may be an address
// family; without one it is inet. The words' order does not matter; of contradicting
// ones the last wins.
func ParseWords(name string, words []string) (Change, error) {
	if len(name) > maxName {
		return Change{}, fmt.Errorf("interface name '%s' too long", Shown(name))
	}
	kind, err := kindOf(name)
	if err != nil {
		return Change{Interface: name}, err
	}
	p := parser{Change: Change{Interface: name}, kind: kind, family: Inet}
	if len(words) > 0 && isFamily(words[0]) {
		p.family, words = Family(words[0]), words[1:]
	}
	if err := p.words(words); err != nil {
		return p.Change, err
	}
	if err := p.finishAddress(); err != nil {
		return p.Change, err
	}
	if err := p.finishCarp(); err != nil {
		return p.Change, err
	}
	return p.Change, p.Validate()
}

// parser is a Change while its words are read.
type parser struct {
	Change
	kind    kind
	family  Family
	address addressWords
}

func (p *parser) words(words []string) error {
	for i := 0; i < len(words); i++ {
		word := words[i]
		k := lookup(word, p.kind)
		switch {
		case k == nil && lookup(word, kindAny) != nil:
			return lookup(word, kindAny).misplaced(p.Interface, word)
		case k == nil:
			if err := p.bareWord(word); err != nil {
				return err
			}
			continue
		case k.set == nil:
			return k.refusal(p.Interface, word)
		case word == "create" && i > 0:
			return errors.New("create: must be the first word behind the interface")
		}
		arg := ""
		if k.arg != "" {
			if i++; i == len(words) {
				return fmt.Errorf("'%s' requires argument", word)
			}
			arg = words[i]
			if next := lookup(arg, p.kind); next != nil && next.set != nil && k.arg != "text" {
				return fmt.Errorf("'%s' requires argument (found keyword '%s')", word, arg)
			}
		}
		if err := k.set(p, arg); err != nil && k.arg == "" {
			return fmt.Errorf("%s: %w", word, err)
		} else if err != nil {
			return fmt.Errorf("%s %s: %w", word, Shown(arg), err)
		}
		if k.noEffect {
			p.warn("%s: has no effect on Linux (%s)", word, k.forInterface(p.Interface))
		}
	}
	return nil
}

func (p *parser) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// bareWord takes a word that is no keyword. As on BSD, it is an address or a part of one.
func (p *parser) bareWord(word string) error {
	addr, _, _ := strings.Cut(word, "/")
	isMask := len(p.address.bare) > 0 && isNetmask(word)
	switch {
	case len(p.address.bare) == 1 && strings.Trim(word, "0123456789") == "" && word != "" && !isMask:
		return fmt.Errorf("%s: bad value (did you mean '%s/%s'?)", Shown(word), p.address.bare[0], Shown(word))
	case !isAddress(addr) && !isMask:
		return badWord(p.kind, word)
	case len(p.address.bare) > 0 && addr != word:
		return fmt.Errorf("%s: bad value (one address on a line)", Shown(word))
	case p.kind == kindPFSync:
		return NoAddress(p.Interface)
	case len(p.address.bare) == 3:
		return fmt.Errorf("%s: bad value (an address, its netmask and its broadcast address are there already)", Shown(word))
	}
	p.address.bare = append(p.address.bare, word)
	return nil
}

// badWord tells what is wrong with a word that is neither a keyword nor an address.
func badWord(kind kind, word string) error {
	switch {
	case isFamily(word):
		return fmt.Errorf("%s: bad value (the address family stands directly behind the interface)", word)
	case strings.HasPrefix(word, "--"), len(word) == 2 && word[0] == '-':
		return fmt.Errorf("%s: bad value (options stand before the interface)", Shown(word))
	case looksLikeAddress(word):
		return fmt.Errorf("%s: bad value (not an address)", Shown(word))
	}
	if near := meant(word, kind); near != "" {
		return fmt.Errorf("%s: bad value (did you mean '%s'?)", Shown(word), near)
	}
	return fmt.Errorf("%s: bad value", Shown(word))
}

// looksLikeAddress tells whether a word without letters was to be an address.
func looksLikeAddress(word string) bool {
	return strings.ContainsAny(word, ".:") && strings.Trim(word, "0123456789abcdefABCDEF.:/") == ""
}

func isAddress(word string) bool {
	_, err := netip.ParseAddr(word)
	return err == nil
}

// NoAddress refuses an address for the pfsync interface of that name.
func NoAddress(name string) error {
	return fmt.Errorf("%s: SIOCAIFADDR: Operation not supported (%s takes no address; give it to the syncdev)", name, name)
}

// isWord tells whether word is one of those that can be set.
func isWord(word string) bool {
	for kind := kindPFSync; kind <= kindAny; kind <<= 1 {
		if k := lookup(word, kind); k != nil && k.set != nil {
			return true
		}
	}
	return false
}

// comesFirst tells who gave a word in the place of the interface.
func comesFirst(word string) error {
	return fmt.Errorf("%s: the interface comes first (%s)", word, inItsPlace(word))
}

// inItsPlace is a command that has the word behind an interface.
func inItsPlace(word string) string {
	name := "INTERFACE"
	if k := lookup(word, kindPFSync); k != nil && k.set != nil {
		name = "pfsync0"
	}
	return "ifconfig " + name + " " + word
}

// maxShown is how much of a word is echoed, in bytes.
const maxShown = 60

// Shown is a word as it may stand in an error: one line, not long, that cannot disturb a terminal.
func Shown(word string) string {
	if len(word) > maxShown {
		end := maxShown
		for end > maxShown-utf8.UTFMax && !utf8.RuneStart(word[end]) {
			end--
		}
		return Shown(word[:end]) + "..."
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }) {
		return word
	}
	return strconv.QuoteToASCII(word)
}
