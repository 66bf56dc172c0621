package pfconf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a ruleset. pf's own bound of table entries is the same.
const (
	maxRules   = 10_000
	maxEntries = 200_000
	maxErrors  = 20  // that are reported
	maxNesting = 10  // of include
	maxFiles   = 100 // that are included
)

// Loader is where a pf.conf comes from and what its names mean. Its zero value opens no files and
// knows no names but those built in.
type Loader struct {
	// ReadFile reads the file of a table or an include, and /etc/protocols, /etc/services and
	// /etc/hosts if a name is not built in. nil: there are no files.
	ReadFile func(path string) ([]byte, error)
	// Addresses gives the addresses of an interface, each with its network; none if there is no
	// such interface. nil: there are no interfaces.
	Addresses func(iface string) []netip.Prefix
	// SkipUnsupported leaves lines out, with a note, that use what pf has and this package has not.
	// Otherwise they are errors.
	SkipUnsupported bool
}

// Note is a remark on a ruleset that was accepted.
type Note struct {
	File      string
	Line, Col int // from 1; col in bytes
	Text      string
}

// String is the note in one line, its place first.
func (n Note) String() string {
	return fmt.Sprintf("%s:%d:%d: note: %s", n.File, n.Line, n.Col, n.Text)
}

// Error is one mistake in a file.
type Error struct {
	File      string
	Line, Col int // from 1; col in bytes
	Text      string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Text) }

// Errors are the mistakes of a ruleset in the order they were met, one per statement.
type Errors []*Error

// Error has a line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Parse reads the text of a pf.conf. path is for errors and notes. The error, if any, is an Errors,
// and then there is no ruleset.
func (l Loader) Parse(path, text string) (*Ruleset, []Note, error) {
	p := &parser{Loader: l, macros: map[string]string{}, told: map[string]bool{}, tables: map[string]*table{}, ranks: map[string]int{}}
	p.read(path, text)
	p.finish()
	slices.SortStableFunc(p.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(p.ranks[a.File], p.ranks[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	slices.SortStableFunc(p.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(p.ranks[a.File], p.ranks[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if len(p.errs) > 0 {
		return nil, p.notes, p.errs
	}
	return &p.rs, p.notes, nil
}

type parser struct {
	Loader
	rs     Ruleset
	notes  []Note
	errs   Errors
	macros map[string]string
	told   map[string]bool // words whose having no effect was noted
	tables map[string]*table
	uses   []use                 // of tables
	places []place               // of the rules
	known  map[string][][]string // /etc/protocols and its like
	files  int                   // included
	// What "set state-defaults" asks of the rules below it.
	noSync  bool
	entries int // of all tables

	file    string
	ranks   map[string]int // of the files, in the order they were met
	nesting int
	toks    []token // of the statement that is being read
	i       int
}

type place struct {
	file      string
	line, col int
}

type use struct {
	place
	table string
}

// read parses one file.
func (p *parser) read(path, text string) {
	outer, line := p.file, 1
	p.file = path
	defer func() { p.file = outer }()
	p.rank(path)
	if strings.HasPrefix(text, "\ufeff") || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		p.fail(&mistake{line: 1, col: 1, text: "begins with a byte order mark; save the file as plain text (UTF-8 without BOM)"})
		return
	}
	lex := &lexer{text: text, line: line, macros: p.macros, note: p.note}
	for len(p.errs) < maxErrors {
		toks, err := lex.statement()
		if err == nil && toks == nil {
			return
		}
		if err == nil {
			p.toks, p.i = toks, 0
			uses := len(p.uses)
			if err = p.statement(); err != nil {
				p.uses = p.uses[:uses]
			}
		}
		if err != nil {
			p.fail(err)
		}
	}
}

// rank remembers where errors and notes of a file stand among those of others.
func (p *parser) rank(file string) {
	if _, ok := p.ranks[file]; !ok {
		p.ranks[file] = len(p.ranks)
	}
}

func (p *parser) fail(err error) {
	m, ok := errors.AsType[*mistake](err)
	if !ok {
		m = &mistake{line: 1, col: 1, text: err.Error()}
	}
	file := cmp.Or(m.file, p.file)
	p.rank(file)
	if m.unsupported && p.SkipUnsupported {
		p.notes = append(p.notes, Note{file, m.line, m.col, m.text + "; the line is left out"})
		return
	}
	p.errs = append(p.errs, &Error{file, m.line, m.col, m.text})
}

func (p *parser) note(line, col int, text string) {
	p.notes = append(p.notes, Note{p.file, line, col, text})
}

// noEffect notes once that a word does nothing here.
func (p *parser) noEffect(t token, why string) {
	if !p.told[t.text] {
		p.told[t.text] = true
		p.note(t.line, t.col, fmt.Sprintf("'%s' has no effect on Linux%s", t.text, why))
	}
}

func mistakef(at token, format string, args ...any) error {
	return &mistake{line: at.line, col: at.col, text: fmt.Sprintf(format, args...)}
}

// unsupported refuses a word that pf has.
func unsupported(at token, what, hint string) error {
	return &mistake{line: at.line, col: at.col, text: fmt.Sprintf("'%s' is not supported; %s", what, hint), unsupported: true}
}

func unexpected(t token, want string) error {
	return mistakef(t, "syntax error: unexpected %v; %s", t, want)
}

// finish checks what only the whole shows, and warns of what cannot be judged.
func (p *parser) finish() {
	for _, u := range p.uses {
		if p.tables[u.table] == nil {
			p.errs = append(p.errs, &Error{u.file, u.line, u.col,
				fmt.Sprintf("table <%s> is not defined; add 'table <%s> { ... }', or 'persist' instead of the braces for an empty one", u.table, u.table)})
		}
	}
	if len(p.errs) > 0 {
		p.errs = p.errs[:min(len(p.errs), maxErrors)]
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.tables)) {
		p.rs.Tables = append(p.rs.Tables, p.tables[name].sorted())
	}
	p.notePlain()
	p.noteUnjudged()
}

// notePlain says once that rules here let nothing through.
func (p *parser) notePlain() {
	for i := range p.rs.Rules {
		if r := &p.rs.Rules[i]; r.keeps() {
			at := p.places[i]
			p.notes = append(p.notes, Note{at.file, at.line, at.col,
				"rules only decide what is synchronised; they pass and block nothing, which is left to nftables"})
			return
		}
	}
}

// noteUnjudged warns of the rules that conntrack knows too little for, if that matters.
func (p *parser) noteUnjudged() {
	steps := order(p.rs.Rules)
	const anyProto = 0
	reached := make([]int, len(p.rs.Rules)) // the place of each rule among the steps, from 1
	last := map[uint8]int{}                 // the last no-sync rule that is judged, by protocol
	lastOfAll := 0
	for i, s := range steps {
		r := &p.rs.Rules[s.rule]
		if excluded(r.Proto) {
			continue
		}
		reached[s.rule] = i + 1
		if !r.keeps() && r.Judged() {
			last[r.Proto], lastOfAll = i+1, i+1
		}
	}
	var at place
	for i, rule := range p.rs.Rules {
		if n := reached[i]; rule.Judged() || n == 0 || p.places[i] == at {
			continue
		}
		others := max(last[rule.Proto], last[anyProto])
		if rule.Proto == anyProto {
			others = lastOfAll
		}
		what, why := "on "+rule.On.Name, "conntrack does not know interfaces"
		if rule.On.Not {
			what = "on ! " + rule.On.Name
		}
		if rule.On.Name == "" {
			what, why = string(rule.Direction), "a connection passes both in and out"
		}
		text := fmt.Sprintf("'%s' cannot be judged (%s): ", what, why)
		switch {
		case !rule.keeps():
			text += "the rule is never applied and its connections are synchronised; " +
				"mark them in nftables and use 'set no-sync mark'"
		case reached[i] < others:
			text += "the rule is taken to match, so that it overrules the no-sync of others"
		default:
			continue
		}
		at = p.places[i]
		p.notes = append(p.notes, Note{at.file, at.line, at.col, text})
	}
}

func (p *parser) peek() token { return p.toks[p.i] }

func (p *parser) next() token {
	t := p.toks[p.i]
	if t.kind != end {
		p.i++
	}
	return t
}

// accept takes the next token if it is text.
func (p *parser) accept(text string) bool {
	if !p.peek().is(text) {
		return false
	}
	p.i++
	return true
}

func (p *parser) expect(text, want string) error {
	if !p.accept(text) {
		return unexpected(p.peek(), want)
	}
	return nil
}

func (p *parser) end(want string) error {
	if p.peek().kind != end {
		return unexpected(p.peek(), want)
	}
	return nil
}

// name takes a word or a string.
func (p *parser) name(want string) (token, error) {
	if t := p.peek(); t.kind != word && t.kind != quoted {
		return t, unexpected(t, want)
	}
	return p.next(), nil
}

// list reads one item, or several in braces.
func (p *parser) list(item func() error) error {
	if !p.accept("{") {
		return item()
	}
	for n := 0; ; n++ {
		if p.peek().is("}") && n == 0 {
			return mistakef(p.peek(), "the list is empty")
		}
		if p.accept("}") {
			return nil
		}
		if p.peek().is("{") {
			if err := p.list(item); err != nil { // a macro with a list in a list
				return err
			}
		} else if err := item(); err != nil {
			return err
		}
		p.accept(",")
	}
}

const statements = "a line begins with pass, match, set, table, include or NAME ="

func (p *parser) statement() error {
	first := p.peek()
	if first.kind == word && len(p.toks) > 1 && p.toks[1].is("=") {
		return p.macro()
	}
	if first.kind != word {
		return unexpected(first, statements)
	}
	switch p.i++; first.text {
	case "pass":
		return p.rule(Pass, first)
	case "match":
		return p.rule(Match, first)
	case "set":
		return p.set()
	case "table":
		return p.table()
	case "include":
		return p.include()
	}
	if hint, ok := foreignLines[first.text]; ok {
		return unsupported(first, first.text, hint)
	}
	return unexpected(first, statements)
}

func (p *parser) macro() error {
	name := p.next()
	p.i++
	if strings.ContainsFunc(name.text, func(r rune) bool { return r > 0x7e || !isName(byte(r)) }) || name.text[0] >= '0' && name.text[0] <= '9' {
		return mistakef(name, "macro %s: the name is of letters, digits and '_', and begins with no digit", quote(name.text))
	}
	var value []string
	size := 0
	for p.peek().kind != end {
		text := p.next().text
		value = append(value, text)
		if size += len(text) + 1; size > maxMacro {
			return mistakef(name, "macro '%s': more than %d bytes; use a table for addresses", name.text, maxMacro)
		}
	}
	if len(value) == 0 {
		return unexpected(p.peek(), "a macro has a value: "+name.text+` = "..."`)
	}
	p.macros[name.text] = strings.Join(value, " ")
	return nil
}

func (p *parser) include() error {
	path, err := p.name(`an include is: include "/path"`)
	if err != nil {
		return err
	}
	if err := p.end("an include is: include \"/path\""); err != nil {
		return err
	}
	if p.nesting == maxNesting {
		return mistakef(path, "include %s: nested %d deep; does a file include itself?", quote(path.text), maxNesting)
	}
	if p.files++; p.files > maxFiles {
		return mistakef(path, "include %s: more than %d files", quote(path.text), maxFiles)
	}
	text, err := p.readFile(path)
	if err != nil {
		return err
	}
	p.nesting++
	p.read(path.text, text)
	p.nesting--
	return nil
}

func (p *parser) readFile(path token) (string, error) {
	if p.ReadFile == nil {
		return "", mistakef(path, "%s: No such file or directory", quote(path.text))
	}
	text, err := p.ReadFile(path.text)
	if e, ok := errors.AsType[*os.PathError](err); ok && errors.Is(err, os.ErrNotExist) {
		return "", mistakef(path, "%s: No such file or directory", quote(path.text))
	} else if ok {
		return "", mistakef(path, "%s: %v", quote(path.text), e.Err)
	} else if err != nil {
		return "", mistakef(path, "%s: %v", quote(path.text), err)
	}
	return string(text), nil
}

// number reads a number in decimal, or with 0x in hexadecimal.
func (p *parser) number(what string, lo, hi uint64) (uint64, error) {
	t, err := p.name(what + " wants a number")
	if err != nil {
		return 0, err
	}
	base := 10
	digits, hex := strings.CutPrefix(t.text, "0x")
	if hex {
		base = 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, mistakef(t, "%s %s: not a number", what, quote(t.text))
	}
	if err != nil || n < lo || n > hi {
		return 0, mistakef(t, "%s %s: out of range (%d to %d)", what, quote(t.text), lo, hi)
	}
	return n, nil
}
