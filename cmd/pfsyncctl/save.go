package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/hostname"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
	"github.com/pfsync-linux/pfsync/sync/control"
	"github.com/pfsync-linux/pfsync/sync/link"
)

const pfsync0 = "pfsync0"

// These are pfsync0's settings when nothing was said of them.
const (
	usualMaxUpd = 128
	usualMTU    = 1500
	usualTable  = "conntrack" // with another one pfsync0 listens
)

// save writes the running configuration of pfsync0 and of each carp interface as a hostname.if file, in place of
// the one that is there.
func save(c *cli.Context, d daemon, stdout, stderr io.Writer) error {
	list, err := d.Interfaces(c.Context)
	if err != nil {
		return err
	}
	var running *ifconfig.Interface
	for i := range list {
		if list[i].PFSync != nil {
			running = &list[i]
		}
	}
	if err := saveCarp(c, list, stdout, stderr); err != nil {
		return err
	}
	if running == nil {
		return errors.New("save: pfsync0 does not exist; make it: ifconfig pfsync0 create")
	}
	path := hostname.Path(c.String("C"), pfsync0)
	before, err := readSaved(path, stderr)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	status, err := d.Status(c.Context)
	if err != nil {
		return err
	}
	text := saved(running, status, before)
	if err := replace(path, text); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	if _, err := fmt.Fprintf(stdout, "%s: %s", path, text); err != nil {
		return err
	}
	if keyed(running) && before.Key == nil {
		return fmt.Errorf("save: pfsync0 has a key, and pfsyncd does not know its file; add to %s: key FILE", path)
	}
	return nil
}

func keyed(i *ifconfig.Interface) bool {
	return i.PFSync.Key != "" && i.PFSync.Key != ifconfig.KeyOff
}

// savedChanges is the configuration in the file of before, nothing if there is none. What is no
// configuration of the interface would be lost, and is refused.
func savedChanges(path, name string, stderr io.Writer) (changes []ifconfig.Change, err error) {
	f, err := hostname.Open(path, false, func(text string) { fmt.Fprintf(stderr, "pfsyncctl: %s\n", text) })
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, os.ErrPermission):
		return nil, needsRoot(path)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	steps, err := hostname.Parse(f, name, path)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if s.Do != plan.Ifconfig || s.Interface != name {
			return nil, fmt.Errorf("%v: would be lost: change %s by hand", s.Place, path)
		}
		change, err := s.Change()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", s.Place, err)
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// readSaved reads what the daemon cannot tell from the file of before.
func readSaved(path string, stderr io.Writer) (before ifconfig.Change, err error) {
	changes, err := savedChanges(path, pfsync0, stderr)
	if err != nil {
		return before, err
	}
	for _, change := range changes {
		if change.Key != nil {
			before.Key = nil
			if change.Key.File != "" {
				before.Key = change.Key
			}
		}
		if change.Description != nil {
			before.Description = change.Description
		}
		if change.Group != nil {
			before.Group = change.Group
		}
	}
	return before, nil
}

// saved is the file's only line.
func saved(i *ifconfig.Interface, s control.Status, before ifconfig.Change) string {
	var words []string
	add := func(is bool, w ...string) {
		if is {
			words = append(words, w...)
		}
	}
	p := i.PFSync
	add(i.Flags&ifconfig.FlagUp != 0, "up")
	add(i.Flags&ifconfig.FlagUp == 0, "down")
	add(p.Syncdev != "", "syncdev", quoted(p.Syncdev))
	add(p.Syncpeer.IsValid() && p.Syncpeer != link.Group, "syncpeer", quoted(p.Syncpeer.String()))
	add(p.MaxUpd != usualMaxUpd, "maxupd", strconv.Itoa(p.MaxUpd))
	add(p.Defer, "defer")
	add(p.Listen, "listen")
	add(!p.Listen && s.Table != usualTable, "-listen")
	add(p.From == ifconfig.VersionSet, "version", p.Version)
	if p.Pair != nil {
		add(*p.Pair, "pair")
		add(!*p.Pair, "-pair")
	}
	add(i.MTU != usualMTU, "mtu", strconv.Itoa(i.MTU))
	if keyed(i) && before.Key != nil {
		add(true, "key", quoted(before.Key.File))
	}
	if before.Description != nil && *before.Description != "" {
		add(true, "description", quoted(*before.Description))
	}
	if before.Group != nil {
		add(true, "group", quoted(*before.Group))
	}
	return strings.Join(words, " ") + "\n"
}

// quoted is a word as hostname.if files have it.
func quoted(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\"'\\#;|&<>()$`!") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}

// replace writes a file as a whole or not at all, for root and root's group.
func replace(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".pfsync0-") // a name that netstart does not read
	if errors.Is(err, os.ErrPermission) {
		return needsRoot(path)
	}
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when it was renamed
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func needsRoot(path string) error {
	return fmt.Errorf("%s: Operation not permitted (needs root)", path)
}
