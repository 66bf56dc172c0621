// Package plan is what netstart does, step by step, however the operator wrote it down: in
// hostname.if files or in rc.conf. A Step can be printed, and be checked before anything is done.
package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/sysctl"
)

// Place is a line of a file.
type Place struct {
	File string
	Line int // from 1; 0: the whole file
}

// String is file:line, as errors begin.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Action is what a Step does.
type Action int

// The actions.
const (
	Ifconfig Action = iota // Words for Interface
	Shell                  // Command, by sh
	DHCP                   // hand Interface to the DHCP client
	Route                  // Gateway becomes the default route of its family
	Sysctl                 // Setting
)

// Step is one thing to do.
type Step struct {
	Place
	Do        Action
	Interface string
	Words     []string       // what stands behind ifconfig's interface
	Places    []Place        // of each word, where they do not all stand at Place; else nil
	Command   string         // of Shell
	Gateway   netip.Addr     // of Route
	Setting   sysctl.Setting // of Sysctl
}

// String prints the step as a shell takes it, without passwords.
func (s Step) String() string { return s.Show(false) }

// hidden stands for a password.
const hidden = "********"

// Show prints the step as a shell takes it, with or without passwords. A DHCP step is the name of
// the interface only: which client it is given to is not known here.
func (s Step) Show(secrets bool) string {
	switch s.Do {
	case Shell:
		return s.Command
	case DHCP:
		return "dhcp " + s.Interface
	case Route:
		family := ""
		if s.Gateway.Is6() {
			family = "-6 "
		}
		if zone := s.Gateway.Zone(); zone != "" {
			return fmt.Sprintf("ip %sroute replace default via %v dev %s", family, s.Gateway.WithZone(""), zone)
		}
		return fmt.Sprintf("ip %sroute replace default via %v", family, s.Gateway)
	case Sysctl:
		return "pfsyncctl sysctl " + s.Setting.String()
	}
	var b strings.Builder
	b.WriteString("ifconfig " + quoted(s.Interface))
	for i, w := range s.Words {
		if !secrets && i > 0 && s.Words[i-1] == "pass" {
			w = hidden
			b.WriteString(" " + w)
			continue
		}
		b.WriteString(" " + quoted(w))
	}
	return b.String()
}

func quoted(word string) string {
	if word == "" || strings.ContainsAny(word, " \t\"'\\#;|&<>()$`*?[]{}~!") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}

// Change is what an Ifconfig step asks for. It is read by ifconfig's own grammar, as typed.
func (s Step) Change() (ifconfig.Change, error) {
	cmd, err := ifconfig.Parse(append([]string{s.Interface}, s.Words...))
	switch {
	case err != nil:
		return ifconfig.Change{}, err
	case cmd.Change == nil:
		return ifconfig.Change{}, errors.New("changes nothing")
	}
	c := *cmd.Change
	if c.Destroy {
		return c, errors.New("destroy: not at boot")
	}
	if c.Key != nil && c.Key.File != "" && !filepath.IsAbs(c.Key.File) {
		return c, fmt.Errorf("key %s: write the whole path, from / on", ifconfig.Shown(c.Key.File)) // netstart may run anywhere
	}
	return c, nil
}

// Has tells whether a word of the step is this keyword.
func (s Step) Has(word string) bool { return slices.Contains(s.Words, word) }

// At is where a word stands, the last time if there are several.
func (s Step) At(word string) Place {
	for i, w := range slices.Backward(s.Words) {
		if w == word && i < len(s.Places) {
			return s.Places[i]
		}
	}
	return s.Place
}

// Errorf is an error that begins with the step's place.
func (s Step) Errorf(format string, args ...any) error {
	return fmt.Errorf("%v: %w", s.Place, fmt.Errorf(format, args...))
}
