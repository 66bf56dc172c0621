// Package hostname reads hostname.if files: how OpenBSD keeps an interface's
// configuration over a reboot. See hostname.if(5).
package hostname

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
	"github.com/pfsync-linux/pfsync/ifconfig/plan"
)

// maxLine bounds a line in bytes; real ones have some dozen.
const maxLine = 4096

// Parse makes steps of the file of the interface name. path is for errors, which start with
// path, and its line where one is to blame. Every line is read; the error joins those of all
// wrong ones, one on each of its lines. ifconfig's own words are not judged here, see plan.Step.Change.
func Parse(r io.Reader, name, path string) ([]plan.Step, error) {
	if _, err := ifconfig.Parse([]string{name}); err != nil || strings.HasPrefix(name, "-") { // the name itself
		return nil, fmt.Errorf("%s: interface name %s: bad value", path, ifconfig.Shown(name))
	}
	f := file{name: name}
	var wrong []error
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	line := 0
	for in.Scan() {
		line++
		start, text := line, strings.TrimSuffix(in.Text(), "\r")
		if line == 1 && hasMark(text) {
			return nil, fmt.Errorf("%s:1: begins with a byte order mark; save the file as plain text (UTF-8 without BOM)", path)
		}
		if trimmed := strings.TrimLeft(text, " \t"); strings.HasPrefix(trimmed, "#") {
			continue // a comment is not continued
		}
		for continued(text) && in.Scan() {
			line++
			text = text[:len(text)-1] + " " + strings.TrimLeft(strings.TrimSuffix(in.Text(), "\r"), " \t")
		}
		if in.Err() != nil {
			break
		}
		f.place = plan.Place{File: path, Line: start}
		if err := f.line(text); err != nil {
			wrong = append(wrong, fmt.Errorf("%v: %w", f.place, err))
		}
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		wrong = append(wrong, fmt.Errorf("%s:%d: more than %d bytes; put its words on several lines", path, line+1, maxLine))
	} else if err != nil {
		wrong = append(wrong, fmt.Errorf("%s: %w", path, err))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return f.steps, nil
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
