package pfconf

import (
	"fmt"
	"strings"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

type kind uint8

const (
	word   kind = iota
	quoted      // a string in quotes, which is no keyword
	punct       // ( ) { } < > ! = , and the comparisons
	end         // of the statement
)

type token struct {
	kind      kind
	text      string
	line, col int // from 1; col in bytes
}

// is tells whether the token is this keyword or punctuation.
func (t token) is(text string) bool { return t.kind != quoted && t.kind != end && t.text == text }

// String is the token as an error names it.
func (t token) String() string {
	switch t.kind {
	case end:
		return "end of line"
	case quoted:
		return "string " + quote(t.text)
	}
	return quote(t.text)
}

func quote(s string) string {
	if shown := ifconfig.Shown(s); !strings.HasPrefix(shown, `"`) {
		return "'" + shown + "'"
	}
	return ifconfig.Shown(s)
}

const (
	maxMacro  = 1 << 16 // bytes of a macro's value: macros of macros grow fast
	maxTokens = 1 << 20 // of a statement: room for the largest table
)

// lexer makes statements of a file: the tokens of a line, which goes on behind a backslash and
// within braces.
type lexer struct {
	text   string
	pos    int
	line   int
	begin  int // where the line begins
	macros map[string]string
	note   func(line, col int, text string)

	out   []token
	depth int   // of braces
	open  token // the outermost open brace
	fixed bool  // the text is a macro's value: all positions are that of its use
	at    token // which is here
}

// mistake is an error at a place of the file that is being read.
type mistake struct {
	line, col   int
	text        string
	unsupported bool   // pf's language, but not ours
	file        string // if it is another one
}

func (m *mistake) Error() string { return m.text }

func (l *lexer) here() token {
	if l.fixed {
		return l.at
	}
	return token{line: l.line, col: l.pos - l.begin + 1}
}

func (l *lexer) fail(at token, format string, args ...any) error {
	return &mistake{line: at.line, col: at.col, text: fmt.Sprintf(format, args...)}
}

// statement reads up to the end of a statement that is not empty. After an error the rest of
// the line is skipped. At the end of the file it returns no tokens and no error.
func (l *lexer) statement() ([]token, error) {
	l.out, l.depth = nil, 0
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\n' && l.depth == 0 && len(l.out) > 0:
			at := l.here()
			l.newline()
			return append(l.out, token{kind: end, line: at.line, col: at.col}), nil
		case c == '\n':
			l.newline()
		case c == '#':
			l.comment()
		default:
			if err := l.lex(); err != nil {
				if l.depth > 0 { // what follows in the braces is no statement
					if i := strings.IndexByte(l.text[l.pos:], '}'); i >= 0 {
						l.line += strings.Count(l.text[l.pos:l.pos+i], "\n")
						l.pos += i
						l.begin = strings.LastIndexByte(l.text[:l.pos], '\n') + 1
					}
				}
				l.skipLine()
				return nil, err
			}
		}
	}
	if l.depth > 0 {
		return nil, l.fail(l.open, "'{' is not closed; add '}'")
	}
	if len(l.out) == 0 {
		return nil, nil
	}
	at := l.here()
	return append(l.out, token{kind: end, line: at.line, col: at.col}), nil
}

func (l *lexer) newline() {
	l.pos++
	l.line++
	l.begin = l.pos
}

func (l *lexer) skipLine() {
	for l.pos < len(l.text) && l.text[l.pos] != '\n' {
		l.pos++
	}
}

// comment skips to the end of the line. As in pf a backslash there continues the comment.
func (l *lexer) comment() {
	for {
		from := l.pos
		l.skipLine()
		if !strings.HasSuffix(strings.TrimSuffix(l.text[from:l.pos], "\r"), `\`) || l.pos == len(l.text) {
			return
		}
		l.note(l.line, l.pos-l.begin, "the backslash makes the next line part of the comment")
		l.newline()
	}
}

// join skips a backslash with the line's end, if one is here.
func (l *lexer) join() bool {
	rest := l.text[l.pos:]
	for _, s := range []string{"\\\n", "\\\r\n"} {
		if strings.HasPrefix(rest, s) {
			l.pos += len(s) - 1
			l.newline()
			return true
		}
	}
	return false
}

// comparisons are the punctuation of two bytes.
var comparisons = []string{"!=", "<=", ">=", "><", "<>"}

// lex reads one token, or blanks.
func (l *lexer) lex() error {
	at := l.here()
	switch c := l.text[l.pos]; {
	case c == ' ' || c == '\t' || c == '\r':
		l.pos++
		return nil
	case l.join():
		return nil
	case c == '"' || c == '\'':
		return l.quoted(at, c)
	case c == '$':
		return l.macro(at)
	case strings.IndexByte("(){}<>!=,", c) >= 0:
		text := l.text[l.pos : l.pos+1]
		for _, s := range comparisons {
			if strings.HasPrefix(l.text[l.pos:], s) {
				text = s
			}
		}
		l.pos += len(text)
		return l.add(at, punct, text)
	case isWord(c):
		from := l.pos
		for l.pos < len(l.text) && isWord(l.text[l.pos]) {
			l.pos++
		}
		return l.add(at, word, l.text[from:l.pos])
	default:
		return l.fail(at, "syntax error: unexpected %s", quote(l.text[l.pos:l.pos+1]))
	}
}

// isWord tells whether c may be part of a word.
func isWord(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte("(){}<>!=,#$\"'\\", c) < 0
}

func (l *lexer) add(at token, k kind, text string) error {
	if k == punct && text == "{" {
		if l.depth == 0 {
			l.open = at
		}
		l.depth++
	}
	if k == punct && text == "}" && l.depth > 0 { // one too many is the parser's to refuse
		l.depth--
	}
	if len(l.out) == maxTokens {
		return l.fail(at, "more than %d words in one statement; put addresses into a table with a file", maxTokens)
	}
	l.out = append(l.out, token{k, text, at.line, at.col})
	return nil
}

func (l *lexer) quoted(at token, q byte) error {
	var b strings.Builder
	for l.pos++; l.pos < len(l.text); l.pos++ {
		switch c := l.text[l.pos]; {
		case c == q:
			l.pos++
			return l.add(at, quoted, b.String())
		case c == '\\' && l.join():
			l.pos-- // the loop's step
		case c == '\\' && l.pos+1 < len(l.text) && l.text[l.pos+1] == q:
			l.pos++
			b.WriteByte(q)
		case c == '\n':
			return l.fail(at, "the string is not closed on its line; add %c", q)
		default:
			b.WriteByte(c)
		}
	}
	return l.fail(at, "the string is not closed; add %c", q)
}

// macro replaces $name by the tokens of its value.
func (l *lexer) macro(at token) error {
	l.pos++
	from := l.pos
	for l.pos < len(l.text) && isName(l.text[l.pos]) {
		l.pos++
	}
	name := l.text[from:l.pos]
	value, ok := l.macros[name]
	switch {
	case name == "":
		return l.fail(at, "syntax error: '$' without the name of a macro")
	case l.fixed:
		return l.fail(at, "'$%s' within the value of a macro is not replaced; write it outside of the quotes: \"{\" $%s \"}\"", name, name)
	case !ok:
		return l.fail(at, "macro %s not defined; write %s = \"...\" above", quote(name), ifconfig.Shown(name))
	}
	sub := &lexer{text: value, line: 1, fixed: true, at: at, out: l.out, depth: l.depth, open: l.open}
	for sub.pos < len(value) {
		if c := value[sub.pos]; c == '#' || c == '\n' {
			return l.fail(at, "syntax error: unexpected %s in the value of macro '%s'", quote(value[sub.pos:sub.pos+1]), name)
		}
		if err := sub.lex(); err != nil {
			return err
		}
	}
	l.out, l.depth, l.open = sub.out, sub.depth, sub.open
	return nil
}

func isName(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
