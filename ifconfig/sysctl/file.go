package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

// Line is a setting and where it stands.
type Line struct {
	Setting
	File string
	Line int // from 1
}

// ParseFile reads the text of a sysctl.conf and takes the lines that set one of our variables; all others are
// Linux's, and left to it. file is for errors, which start with it and the line. A wrong line does not keep
// the others from being returned.
//
// A line is NAME=VALUE, empty, or a comment that begins with # or ;. A comment may also stand behind the
// value. Instead of dots the name may have slashes. A '-' before it tells Linux's sysctl not to mind that
// it does not know the name; a wrong value is reported all the same. The patterns of sysctl.d(5) match
// files below /proc/sys, so none of our variables: one that begins as they do is an error.
func ParseFile(file, text string) ([]Line, error) {
	var lines []Line
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		s, ours, err := parseLine(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, n, err))
		} else if ours {
			lines = append(lines, Line{s, file, n})
		}
	}
	return lines, errors.Join(errs...)
}

func parseLine(line string) (_ Setting, ours bool, _ error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return Setting{}, false, nil
	}
	line, dash := strings.CutPrefix(line, "-")
	name, value, assigned := strings.Cut(line, "=")
	if !assigned { // perhaps a forgotten '='
		name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
	}
	name = dots(strings.TrimSpace(name))
	if _, known := Lookup(name); !known && !isOwn(name) {
		return Setting{}, false, nil
	}
	if strings.ContainsAny(name, "*?[") {
		return Setting{}, false, fmt.Errorf("'%s': patterns are Linux's alone; write each name out", ifconfig.Shown(name))
	}
	if !assigned {
		if dash && value == "" {
			return Setting{}, false, nil // takes the name out of Linux's patterns
		}
		if _, known := Lookup(name); !known {
			return Setting{}, false, unknown(name)
		}
		return Setting{}, false, fmt.Errorf("%s: '=' is missing", name)
	}
	value, _, _ = strings.Cut(value, "#")
	s, err := Parse(name + "=" + value)
	return s, err == nil, err
}

func isOwn(name string) bool {
	return slices.ContainsFunc(own[:], func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// dots gives a name with dots for one with slashes. As in sysctl.d(5) the first one of either tells which are
// meant, and then the other stands for it within a part of the name.
func dots(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// Load reads what sets variables at boot, of the file system fsys that is the folder etc, /etc as a rule:
// sysctl.d/*.conf by name, sysctl.conf, and pfsync/sysctl.conf, a place where Linux's sysctl does not
// look and does not complain. What is not there is left out. As
// with ParseFile, lines are returned beside an error.
func Load(fsys fs.FS, etc string) ([]Line, error) {
	files, err := fs.Glob(fsys, "sysctl.d/*.conf")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var lines []Line
	var errs []error
	for _, file := range append(files, "sysctl.conf", "pfsync/sysctl.conf") {
		name := path.Join(etc, file)
		text, err := fs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		read, err := ParseFile(name, string(text))
		if err != nil {
			errs = append(errs, err)
		}
		lines = append(lines, read...)
	}
	return lines, errors.Join(errs...)
}

// Last gives the last line of each variable, in the order of Variables: what holds in the end.
func Last(lines []Line) []Line {
	var last []Line
	for _, v := range variables {
		for _, l := range slices.Backward(lines) {
			if l.Name == v.Name {
				last = append(last, l)
				break
			}
		}
	}
	return last
}
