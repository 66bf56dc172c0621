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
var ErrUsage = errors.New("usage: ifconfig [-aAC] [--json] [--style openbsd|both] [interface] [family] [words]")

// Command is one ifconfig command line. Change is set when it asks for a change; else
// Help, Cloners or Display says what to show.
type Command struct {
	Help    bool // --help
	Cloners bool // -C: what can be created
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
		words = words[1:]
	}
	if len(words) == 0 {
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
				case 'g', 'M':
					return nil, false, fmt.Errorf("-%c: not supported yet", letter)
				default:
					return nil, false, fmt.Errorf("%s: unknown option (%w)", Shown(word), ErrUsage)
				}
			}
		}
	}
	return args, all, nil
}

// ParseWords reads the words behind the name of an interface: a line of hostname.if,
// or what follows the name (and the family) on ifconfig's command line. The words'
// order does not matter; of contradicting ones the last wins.
func ParseWords(name string, words []string) (Change, error) {
	c := Change{Interface: name}
	if len(name) > maxName {
		return c, fmt.Errorf("interface name '%s' too long", Shown(name))
	}
	kind, err := kindOf(name)
	if err != nil {
		return c, err
	}
	for i := 0; i < len(words); i++ {
		word := words[i]
		k := lookup(word, kind)
		switch {
		case k == nil && lookup(word, kindAny) != nil:
			return c, lookup(word, kindAny).misplaced(name, word)
		case k == nil:
			return c, badWord(name, kind, word)
		case k.set == nil:
			return c, k.refusal(name, word)
		case word == "create" && i > 0:
			return c, errors.New("create: must be the first word behind the interface")
		}
		arg := ""
		if k.arg != "" {
			if i++; i == len(words) {
				return c, fmt.Errorf("'%s' requires argument", word)
			}
			arg = words[i]
			if next := lookup(arg, kind); next != nil && next.set != nil {
				return c, fmt.Errorf("'%s' requires argument (found keyword '%s')", word, arg)
			}
		}
		if err := k.set(&c, arg); err != nil {
			return c, fmt.Errorf("%s %s: %w", word, Shown(arg), err)
		}
	}
	if kind == kindOther && c.Create {
		return c, fmt.Errorf("%s: SIOCIFCREATE: only pfsync0 can be created (use ip link add %s type ...)", name, name)
	}
	if kind == kindOther && c.Destroy {
		return c, fmt.Errorf("%s: SIOCIFDESTROY: only pfsync0 can be destroyed (use ip link delete %s)", name, name)
	}
	if c.Destroy && c.besideDestroy() != "" {
		return c, contradicts(c)
	}
	return c, nil
}

// kind is a set of kinds of interfaces, as keywords know them.
type kind uint8

const (
	kindPFSync kind = 1 << iota
	kindOther
	kindAny = kindPFSync | kindOther
)

// kindOf tells what words apply to the interface of this name.
func kindOf(name string) (kind, error) {
	driver, unit := cutUnit(name)
	switch {
	case unit == "":
	case driver == "pfsync" && unit != "0":
		return 0, fmt.Errorf("%s: only pfsync0 is supported", name)
	case driver == "pfsync":
		return kindPFSync, nil
	case driver == "carp":
		return 0, fmt.Errorf("%s: carp interfaces are not supported yet (use keepalived for shared addresses)", name)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == ':' || r <= ' ' || !strconv.IsPrint(r) }) || name == "" {
		return 0, fmt.Errorf("interface name %s: bad value", Shown(name))
	}
	return kindOther, nil
}

// cutUnit splits pfsync0 into pfsync and 0; unit is empty when the name ends in no digit.
func cutUnit(name string) (driver, unit string) {
	driver = strings.TrimRight(name, "0123456789")
	return driver, name[len(driver):]
}

// badWord tells what is wrong with a word that is no keyword. As on BSD, a bare word is an address.
func badWord(name string, kind kind, word string) error {
	if _, err := netip.ParsePrefix(word); err == nil || isAddress(word) {
		if kind == kindPFSync {
			return NoAddress(name)
		}
		return fmt.Errorf("%s: addresses are not supported yet (use ip address add %s dev %s)", Shown(word), Shown(word), name)
	}
	switch {
	case isFamily(word):
		return fmt.Errorf("%s: bad value (the address family stands directly behind the interface)", word)
	case strings.HasPrefix(word, "--"):
		return fmt.Errorf("%s: bad value (options stand before the interface)", Shown(word))
	}
	if near := meant(word, kind); near != "" {
		return fmt.Errorf("%s: bad value (did you mean '%s'?)", Shown(word), near)
	}
	return fmt.Errorf("%s: bad value", Shown(word))
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
	for _, kind := range []kind{kindPFSync, kindOther} {
		if k := lookup(word, kind); k != nil && k.set != nil {
			return true
		}
	}
	return false
}

// comesFirst tells who gave a word in the place of the interface.
func comesFirst(word string) error {
	return fmt.Errorf("%s: the interface comes first (ifconfig pfsync0 %s)", word, word)
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
