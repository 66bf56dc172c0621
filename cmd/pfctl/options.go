package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

const usage = "usage: pfctl [-deMNnqv] [--json] [-F states|rules|all] [-f file] [--host address] [-i interface] [-k host | network | id | key | label] " +
	"[-s states|info|rules|memory|timeouts|all]"

type choice uint8

const (
	unsaid choice = iota
	yes
	no
)

// options are a command line.
type options struct {
	enable  choice
	show    string // the word in full
	flush   string
	kill    []string
	file    string
	iface   string
	host    netip.Prefix // of --host
	verbose int
	dry     bool
	quiet   bool
	numeric bool
	json    bool
}

// modifiers of -s and -F. Those with a reason are OpenBSD's and not Linux's.
type modifier struct{ word, why string }

var shows = []modifier{
	{"states", ""}, {"info", ""}, {"rules", ""}, {"memory", ""}, {"timeouts", ""}, {"all", ""},
	{"Interfaces", "use ip -s link"}, {"labels", "rules count nothing; use counters of nft"}, {"queue", "use tc"},
	{"Sources", "use meters of nft"}, {"Anchors", "rulesets are flat"}, {"Tables", "-vs rules prints them"},
	{"osfp", "use nft's osf"}, {"nat", "use nft list ruleset"},
}

var flushes = []modifier{
	{"states", ""}, {"rules", ""}, {"all", ""},
	{"info", "counters only ever grow"}, {"Sources", "use meters of nft"}, {"Tables", "-F rules clears them too"},
	{"osfp", "use nft's osf"}, {"queue", "use tc"}, {"nat", "use nft"}, {"Reset", "use -F all"},
}

// refused are the options of OpenBSD's and FreeBSD's pfctl that are known and not had.
const refused = "AabDgKLmOoPpRrSTtVxz"

// parse reads a command line as getopt would: options may be joined, and so may an option and its word.
func parse(args []string) (o options, err error) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--json":
			o.json = true
			continue
		case word == "--host" || strings.HasPrefix(word, "--host="):
			value, given := strings.CutPrefix(word, "--host=")
			if !given && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			if o.host, err = parseNet(value); err != nil {
				return o, fmt.Errorf("--host: %w", err)
			}
			continue
		case strings.HasPrefix(word, "--"):
			return o, fmt.Errorf("%s: unknown option (%s)", ifconfig.Shown(word), usage)
		case len(word) < 2 || word[0] != '-':
			return o, fmt.Errorf("%s: unexpected (%s)", ifconfig.Shown(word), usage)
		}
		for i := 1; i < len(word); i++ {
			takes := strings.IndexByte("Ffiks", word[i]) >= 0
			if !takes {
				if err := o.flag(word[i]); err != nil {
					return o, err
				}
				continue
			}
			value := word[i+1:]
			if value == "" {
				if len(args) == 0 {
					return o, fmt.Errorf("-%c: needs a word (%s)", word[i], usage)
				}
				value, args = args[0], args[1:]
			}
			if err := o.option(word[i], value); err != nil {
				return o, err
			}
			break
		}
	}
	return o, o.check()
}

// check refuses what would do nothing, or not what is meant.
func (o *options) check() error {
	switch {
	case o.show == "" && o.flush == "" && len(o.kill) == 0 && o.file == "" && o.enable == unsaid:
		return errors.New(usage)
	case o.host.IsValid() && o.show != "states":
		return errors.New("--host: goes with -s states only; -k takes a host itself")
	case o.iface != "" && o.show != "states" && o.show != "all" && o.flush != "states" && len(o.kill) == 0:
		return fmt.Errorf("-i %s: goes with -s states, -k and -F states", ifconfig.Shown(o.iface))
	case o.json && o.show == "":
		return errors.New("--json: goes with -s")
	case o.json && o.show == "all":
		return errors.New("--json: one at a time, not -s all")
	}
	return nil
}

// flag takes an option without a word.
func (o *options) flag(c byte) error {
	switch c {
	case 'd', 'e':
		want := yes
		if c == 'd' {
			want = no
		}
		if o.enable != unsaid && o.enable != want {
			return errors.New("-d and -e contradict each other")
		}
		o.enable = want
	case 'n':
		o.dry = true
	case 'N':
		o.numeric = true
	case 'q':
		o.quiet = true
	case 'v':
		o.verbose++
	case 'M': // FreeBSD: kill the translated twin too, which here is the same state
	default:
		if strings.IndexByte(refused, c) >= 0 {
			return fmt.Errorf("-%c: not supported on Linux", c)
		}
		return fmt.Errorf("%s: unknown option (%s)", ifconfig.Shown("-"+string(rune(c))), usage)
	}
	return nil
}

// option takes an option with its word.
func (o *options) option(c byte, word string) (err error) {
	switch c {
	case 's':
		o.show, err = choose("-s", word, shows)
	case 'F':
		o.flush, err = choose("-F", word, flushes)
	case 'k':
		if len(o.kill) == 2 {
			return errors.New("-k: can be given twice only")
		}
		o.kill = append(o.kill, word)
	case 'f':
		o.file = word
	case 'i':
		if word == "" || len(word) > 15 {
			return fmt.Errorf("-i %s: not a name of 1 to 15 characters", ifconfig.Shown(word))
		}
		o.iface = word
	}
	return err
}

// choose finds a modifier by the beginning of its word.
func choose(option, word string, list []modifier) (string, error) {
	var found []modifier
	for _, m := range list {
		if m.word == word {
			found = []modifier{m}
			break
		}
		if word != "" && strings.HasPrefix(m.word, word) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 1 && found[0].why == "":
		return found[0].word, nil
	case len(found) == 1:
		return "", fmt.Errorf("%s %s: not supported on Linux; %s", option, found[0].word, found[0].why)
	case len(found) > 1:
		return "", fmt.Errorf("%s %s: may be %s or %s", option, word, found[0].word, found[1].word)
	}
	var words []string
	for _, m := range list {
		if m.why == "" {
			words = append(words, m.word)
		}
	}
	return "", fmt.Errorf("%s %s: unknown, choose %s", option, ifconfig.Shown(word), strings.Join(words, ", "))
}

// parseNet reads an address or a network.
func parseNet(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p, err := netip.ParsePrefix(word); err == nil {
		return p.Masked(), nil
	}
	return netip.Prefix{}, fmt.Errorf("%s: neither an address nor a network", ifconfig.Shown(word))
}
