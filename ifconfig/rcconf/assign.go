// Package rcconf reads FreeBSD's rc.conf: the assignments that configure interfaces and pfsync, as steps of
// a plan. The file is a shell script; here it is none: whatever is no plain assignment is refused.
package rcconf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
)

// Value is what a variable was set to, and where.
type Value struct {
	Text string
	plan.Place
}

// Vars are the variables of one or several files.
type Vars map[string]Value

// Parse reads the text of an rc.conf into vars; what was there is replaced. file is for errors, which start
// with it and the line. Every line is read; the error joins those of all wrong ones, one on each of its
// lines, and then vars are not to be used: one of the lines could have been about any of them.
//
// A line is NAME=VALUE, with single or double quotes or none around VALUE or parts of it; empty; or a
// comment. A backslash at its end joins the next one.
func (vars Vars) Parse(file, text string) error {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} { // UTF-8, UTF-16
		if strings.HasPrefix(text, mark) {
			return fmt.Errorf("%s:1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)", file)
		}
	}
	var wrong []error
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		place := plan.Place{File: file, Line: i + 1}
		line := strings.TrimSuffix(lines[i], "\r")
		if strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			continue // a comment is not continued
		}
		for continued(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimSuffix(lines[i], "\r")
		}
		name, value, err := assignment(line)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%v: not a plain assignment: %w", place, err))
		} else if name != "" {
			vars[name] = Value{value, place}
		}
	}
	return errors.Join(wrong...)
}

func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// assignment reads one line; name is "" if there is nothing on it.
func assignment(line string) (name, value string, err error) {
	line = strings.TrimLeft(line, " \t")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	name, rest, assigned := strings.Cut(line, "=")
	if !assigned || !isName(name) {
		word := line
		if at := strings.IndexAny(line, " \t="); at > 0 {
			word = line[:at]
		}
		return "", "", fmt.Errorf("%s (only NAME=\"VALUE\" is read, nothing is executed)", ifconfig.Shown(word))
	}
	value, rest, err = unquote(rest)
	if err != nil {
		return "", "", err
	}
	if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#' {
		return "", "", fmt.Errorf("%s behind the value of %s (put quotes around all of it)", ifconfig.Shown(rest), ifconfig.Shown(name))
	}
	return name, value, nil
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		if !(c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

// unquote reads a shell's word from the front of s. What a shell would replace is refused.
func unquote(s string) (word, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			b.WriteByte(c)
		case c == '\\':
			if i++; i == len(s) {
				return "", "", errors.New("the backslash at the end of the file continues nothing")
			}
			if quote == '"' && strings.IndexByte("\"\\$`", s[i]) < 0 {
				b.WriteByte('\\') // as in a shell
			}
			b.WriteByte(s[i])
		case c == '$' || c == '`':
			return "", "", fmt.Errorf("unexpected '%c' (nothing is expanded or executed; write the value itself)", c)
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t':
			return b.String(), s[i:], nil
		case strings.IndexByte(";|&<>()", c) >= 0 || c == '~' && i == 0:
			return "", "", fmt.Errorf("unexpected '%c' (nothing is executed; quote it)", c)
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("%c is not closed on its line (end the line with a backslash to go on)", quote)
	}
	return b.String(), "", nil
}
