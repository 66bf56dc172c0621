package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
)

// saveCarp writes the file of each carp interface. A password is nobody's to read: it is kept from the
// file that is there.
func saveCarp(c *cli.Context, list []ifconfig.Interface, stdout, stderr io.Writer) error {
	var wrong []error
	for i := range list {
		one := &list[i]
		if one.Carp == nil {
			continue
		}
		path := hostname.Path(c.String("C"), one.Name)
		pass, err := savedPass(path, one.Name, stderr)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("save: %w", err))
			continue
		}
		if err := replace(path, savedCarp(one, pass)); err != nil {
			wrong = append(wrong, fmt.Errorf("save: %w", err))
			continue
		}
		if _, err := fmt.Fprintf(stdout, "%s: %s", path, savedCarp(one, hiddenPass(pass))); err != nil {
			return err
		}
		if pass == nil && !one.Carp.NoPass {
			wrong = append(wrong, fmt.Errorf("save: %s has a password, which pfsyncd shows nobody; add to %s: pass WORD", one.Name, path))
		}
	}
	return errors.Join(wrong...)
}

func hiddenPass(pass *string) *string {
	if pass == nil {
		return nil
	}
	return new("********")
}

// savedPass is the password in a file.
func savedPass(path, name string, stderr io.Writer) (pass *string, err error) {
	changes, err := savedChanges(path, name, stderr)
	if err != nil {
		return nil, err
	}
	for _, change := range changes {
		if change.Carp != nil && change.Carp.Pass != nil {
			pass = new(change.Carp.Pass.Secret())
		}
	}
	return pass, nil
}

// savedCarp is the text of the file: a line of settings, and one for each address. The last line says
// down if it is, for an address brings the interface up.
func savedCarp(i *ifconfig.Interface, pass *string) string {
	var words []string
	add := func(is bool, w ...string) {
		if is {
			words = append(words, w...)
		}
	}
	c := i.Carp
	add(c.VHID != 0, "vhid", strconv.Itoa(c.VHID))
	if pass != nil {
		add(true, "pass", quoted(*pass))
	}
	add(c.CarpDev != "" && !c.Picked, "carpdev", quoted(c.CarpDev))
	add(c.AdvBase != 1, "advbase", strconv.Itoa(c.AdvBase))
	add(c.AdvSkew != 0, "advskew", strconv.Itoa(c.AdvSkew))
	add(c.CarpPeer.IsValid(), "carppeer", c.CarpPeer.String())
	add(i.LLAddr != "" && i.LLAddr != fmt.Sprintf("00:00:5e:00:01:%02x", c.VHID), "lladdr", i.LLAddr)
	add(i.Description != "", "description", quoted(i.Description))
	for _, g := range i.Groups {
		add(g != "carp", "group", quoted(g))
	}
	var b strings.Builder
	up := i.Flags&ifconfig.FlagUp != 0
	add(up, "up")
	add(!up, "down")
	b.WriteString(strings.Join(words, " ") + "\n")
	for n, a := range i.Inet {
		alias := ""
		if n > 0 {
			alias = "alias "
		}
		fmt.Fprintf(&b, "inet %s%v\n", alias, a.Prefix)
	}
	for _, a := range i.Inet6 {
		fmt.Fprintf(&b, "inet6 alias %v\n", a.Prefix)
	}
	if !up && len(i.Inet)+len(i.Inet6) > 0 {
		b.WriteString("down\n")
	}
	return b.String()
}
