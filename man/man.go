// Package man holds the manual pages, in mdoc, and reads the examples out of them, so that
// tests can carry them out.
package man

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.4 *.5 *.8
var pages embed.FS

// Pages returns the source of every page by its file's name, such as pfsync.4.
func Pages() (map[string]string, error) {
	files, err := fs.ReadDir(pages, ".")
	if err != nil {
		return nil, err
	}
	all := make(map[string]string, len(files))
	for _, f := range files {
		text, err := pages.ReadFile(f.Name())
		if err != nil {
			return nil, err
		}
		all[f.Name()] = string(text)
	}
	return all, nil
}

// Example is what a reader may copy: a literal display, or a line set off in the section EXAMPLES.
type Example struct {
	File string // whose content it is, if the text of its paragraph names one: /etc/hostname.sis0
	Text string // as it is read, ended by a newline
}

// First is its first line.
func (e Example) First() string {
	line, _, _ := strings.Cut(e.Text, "\n")
	return line
}

// Examples returns those of a page's source, in their order.
func Examples(page string) []Example {
	var all []Example
	var file, text, section string
	display := false
	for line := range strings.Lines(page) {
		macro, words, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case macro == ".Ed" && display:
			all = append(all, Example{File: file, Text: text})
			display, file, text = false, "", ""
		case display:
			text += unescape.Replace(line)
		case macro == ".Bd" && strings.HasPrefix(words, "-literal"):
			display = true
		case macro == ".Dl" && section == "EXAMPLES":
			all = append(all, Example{Text: unescape.Replace(words) + "\n"})
		case macro == ".Sh":
			section, file = words, ""
		case macro == ".Pp" || macro == ".Ss":
			file = ""
		case macro == ".Pa" && strings.HasPrefix(words, "/"):
			file, _, _ = strings.Cut(words, " ")
		}
	}
	return all
}

// unescape undoes what mdoc needs to leave a character alone.
var unescape = strings.NewReplacer(`\e`, `\`, `\&`, ``, `\(dq`, `"`, `\-`, `-`)
