package pfconf

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

const maxTableName = 31 // as in pf

// table is one that is being read.
type table struct {
	name    string
	entries map[netip.Prefix]bool // whether it has a '!'
}

func (t *table) sorted() Table {
	out := Table{Name: t.name}
	for prefix, not := range t.entries {
		out.Entries = append(out.Entries, Entry{prefix, not})
	}
	slices.SortFunc(out.Entries, func(a, b Entry) int { return comparePrefixes(a.Prefix, b.Prefix) })
	return out
}

// comparePrefixes orders by family, address and length.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// tableName reads the name and the '>' behind it.
func (p *parser) tableName() (token, error) {
	t, err := p.name("the name of a table stands between '<' and '>'")
	if err != nil {
		return t, err
	}
	if !isTableName(t.text) {
		return t, mistakef(t, "table %s: the name has at most %d letters, digits and . _ -", quote(t.text), maxTableName)
	}
	return t, p.expect(">", "add '>' behind the name of the table")
}

func isTableName(s string) bool {
	return s != "" && len(s) <= maxTableName && !strings.ContainsFunc(s, func(r rune) bool {
		return r > 0x7e || !isName(byte(r)) && !strings.ContainsRune("._-", r)
	})
}

func (p *parser) table() error {
	const want = "a table is: table <NAME> [persist] [const] [{ ADDRESSES } | file \"/path\"]"
	if err := p.expect("<", want); err != nil {
		return err
	}
	name, err := p.tableName()
	if err != nil {
		return err
	}
	if p.tables[name.text] != nil {
		return mistakef(name, "table <%s> is defined above; put all addresses into one definition", name.text)
	}
	t := &table{name.text, map[netip.Prefix]bool{}}
	for p.peek().kind != end {
		at := p.peek()
		switch {
		case p.accept("persist"), p.accept("const"): // a table does not change here, and stays
		case p.accept("counters"):
			p.noEffect(at, "")
		case at.is("{") && p.toks[p.i+1].is("}"): // empty, which other lists must not be
			p.i += 2
		case at.is("{"):
			err = p.list(func() error { return p.entry(t) })
		case p.accept("file"):
			err = p.tableFile(t)
		default:
			err = unexpected(at, want)
		}
		if err != nil {
			return err
		}
	}
	p.tables[t.name] = t
	return nil
}

func (p *parser) entry(t *table) error {
	not := p.accept("!")
	at := p.peek()
	prefixes, err := p.address()
	if err != nil {
		return err
	}
	return p.enter(t, at, prefixes, not)
}

func (p *parser) enter(t *table, at token, prefixes []netip.Prefix, not bool) error {
	for _, prefix := range prefixes {
		if before, ok := t.entries[prefix]; ok && before != not {
			return mistakef(at, "table <%s> has %v both with and without '!'; remove one of them", t.name, prefix)
		} else if !ok {
			p.entries++
		}
		if p.entries > maxEntries {
			return mistakef(at, "more than %d addresses in all tables; use larger networks", maxEntries)
		}
		t.entries[prefix] = not
	}
	return nil
}

// tableFile reads a file of addresses between blanks, with comments from # to the line's end.
func (p *parser) tableFile(t *table) error {
	path, err := p.name(`write: file "/path"`)
	if err != nil {
		return err
	}
	text, err := p.readFile(path)
	if err != nil {
		return err
	}
	outer := p.file
	line := 0
	for content := range strings.Lines(text) {
		line++
		content, _, _ = strings.Cut(content, "#")
		not := false
		for pos := 0; pos < len(content); {
			if strings.IndexByte(" \t\r\n\f\v", content[pos]) >= 0 {
				pos++
				continue
			}
			at := token{line: line, col: pos + 1}
			if content[pos] == '!' && !not {
				not = true
				pos++
				continue
			}
			n := strings.IndexAny(content[pos:], " \t\r\n\f\v")
			if n < 0 {
				n = len(content) - pos
			}
			p.file = path.text
			prefixes, err := p.resolve(at, content[pos:pos+n])
			if err == nil {
				err = p.enter(t, at, prefixes, not)
			}
			p.file = outer
			if err != nil {
				return inFile(err, path.text)
			}
			not = false
			pos += n
		}
		if not {
			return inFile(mistakef(token{line: line, col: strings.LastIndexByte(content, '!') + 1}, "'!' without an address behind it"), path.text)
		}
	}
	return nil
}

// inFile makes a mistake in another file one that names it.
func inFile(err error, file string) error {
	if m, ok := errors.AsType[*mistake](err); ok {
		m.file = file
	}
	return err
}
