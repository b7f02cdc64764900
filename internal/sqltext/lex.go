package sqltext

import (
	"strings"
	"unicode/utf8"
)

// maxName is the longest identifier that PostgreSQL does not truncate, in bytes.
const maxName = 63

// symbols has the characters that are a token each, including those of operators. The lexer does not join an operator's characters, since nothing here
// depends on which operator they make. So it needs no rule for an operator that ends where a comment begins.
const symbols = "()[],;.:" + operatorChars

const operatorChars = "+-*/<>=~!@#%^&|`?"

// lex cuts text into tokens by the rules of PostgreSQL's scan.l, and leaves out comments and white space. If it cannot, refused says why.
func lex(text string) (ts tokens, refused string) {
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		return nil, "encoding"
	}
	l := lexer{text: text}
	ts = make(tokens, 0, len(text)/4+4) // about as many as there are
	for l.refused == "" && l.space() {
		ts = append(ts, l.token())
	}
	if l.refused != "" {
		return nil, l.refused
	}
	return ts, ""
}

type lexer struct {
	text    string
	plain   bool // standard_conforming_strings is known to be on: a backslash in a string without E is no escape
	long    bool // a long name is not refused
	at      int
	refused string
}

// refuse keeps the first reason.
func (l *lexer) refuse(why string) {
	if l.refused == "" {
		l.refused = why
	}
}

// peek returns the byte n ahead, or 0 behind the end. No byte of the text is 0.
func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.text) {
		return l.text[l.at+n]
	}
	return 0
}

// run skips the bytes for which f holds and returns them.
func (l *lexer) run(f func(byte) bool) string {
	from := l.at
	for l.at < len(l.text) && f(l.text[l.at]) {
		l.at++
	}
	return l.text[from:l.at]
}

// space skips white space and comments, and reports whether anything follows.
func (l *lexer) space() bool {
	for {
		l.run(isSpace)
		switch {
		case l.peek(0) == '-' && l.peek(1) == '-':
			l.run(notNewline)
		case l.peek(0) == '/' && l.peek(1) == '*':
			l.comment()
		default:
			return l.at < len(l.text)
		}
	}
}

// comment skips a comment and those nested in it.
func (l *lexer) comment() {
	depth := 0
	for l.at < len(l.text) {
		switch {
		case l.peek(0) == '/' && l.peek(1) == '*':
			depth++
			l.at += 2
		case l.peek(0) == '*' && l.peek(1) == '/':
			depth--
			l.at += 2
			if depth == 0 {
				return
			}
		default:
			l.at++
		}
	}
	l.refuse("unterminated comment")
}

func (l *lexer) token() token {
	switch c := l.peek(0); {
	case isNameStart(c):
		return l.word()
	case c == '\'':
		return l.string(l.plain, false)
	case c == '"':
		return l.quoted()
	case isDigit(c), c == '.' && isDigit(l.peek(1)):
		return l.number()
	case c == '$':
		return l.dollar()
	case c == ':' && l.peek(1) == ':':
		l.at += 2
		return token{symbol, "::"}
	case strings.IndexByte(symbols, c) >= 0:
		l.at++
		return token{symbol, l.text[l.at-1 : l.at]}
	default:
		l.refuse("character") // a backslash, a control character
		return token{}
	}
}

// word reads an identifier or keyword, or a string that begins with a letter.
func (l *lexer) word() token {
	switch next := l.peek(1); l.peek(0) {
	case 'e', 'E':
		if next == '\'' {
			l.at++
			return l.string(true, true)
		}
	case 'n', 'N':
		if next == '\'' {
			l.at++
			return l.string(false, false)
		}
	case 'b', 'B', 'x', 'X':
		if next == '\'' {
			l.at++
			return l.bits()
		}
	case 'u', 'U':
		if next == '&' && (l.peek(2) == '\'' || l.peek(2) == '"') {
			l.refuse("unicode escape") // its end is easy to find, but its escapes would have to be decoded for the name
			return token{}
		}
	}
	w := l.run(isName)
	l.checkLength(w)
	return token{word, fold(w)}
}

// checkLength refuses a name that PostgreSQL truncates, because it means another name than the text has.
func (l *lexer) checkLength(name string) {
	if len(name) > maxName && !l.long {
		l.refuse("long name")
	}
}

func (l *lexer) quoted() token {
	l.at++
	var name strings.Builder
	for l.at < len(l.text) {
		name.WriteString(l.run(func(c byte) bool { return c != '"' }))
		if l.peek(0) == '"' && l.peek(1) == '"' {
			name.WriteByte('"')
			l.at += 2
			continue
		}
		if l.peek(0) == '"' {
			l.at++
			if name.Len() == 0 {
				l.refuse("empty name")
			}
			l.checkLength(name.String())
			return token{quoted, name.String()}
		}
	}
	l.refuse("unterminated name")
	return token{}
}

// string reads a string from its opening quote, with the parts that continue it on later lines. All parts follow the rules of the first. If backslash
// is true, the string may contain backslashes. If escapes is true, a backslash escapes the next character, so that a quote there does not end the string.
func (l *lexer) string(backslash, escapes bool) token {
	from, plain := l.at+1, !backslash || !escapes
	for {
		l.at++ // the quote
		for {
			l.run(func(c byte) bool { return c != '\'' && c != '\\' })
			if l.at == len(l.text) {
				l.refuse("unterminated string")
				return token{}
			}
			if l.peek(0) == '\\' {
				if !backslash {
					l.refuse("backslash") // where the string ends depends on standard_conforming_strings
					return token{}
				}
				l.at++
				plain = false
				if escapes && l.at < len(l.text) {
					l.at++ // one byte is enough: the other bytes of a multi-byte character are never a quote
				}
				continue
			}
			if l.peek(1) != '\'' {
				break
			}
			l.at += 2
			plain = false
		}
		l.at++
		end := l.at - 1
		if l.continued() {
			plain = false
			continue
		}
		if !plain {
			return token{kind: literal}
		}
		return token{literal, l.text[from:end]}
	}
}

// continued reports whether the string that has just ended goes on with another quote, behind white space with a newline in it and perhaps -- comments.
// If so, it moves to that quote.
func (l *lexer) continued() bool {
	from, newline := l.at, false
	for {
		if strings.ContainsAny(l.run(isSpace), "\n\r") {
			newline = true
		}
		if l.peek(0) != '-' || l.peek(1) != '-' {
			break
		}
		l.run(notNewline)
	}
	if newline && l.peek(0) == '\'' {
		return true
	}
	l.at = from
	return false
}

// bits reads the quoted part of a bit string, from its quote. Anything in it but digits is refused, so the rules for doubled quotes in it do not
// matter.
func (l *lexer) bits() token {
	l.at++
	l.run(func(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' })
	if l.peek(0) != '\'' || l.peek(1) == '\'' {
		l.refuse("bit string")
		return token{}
	}
	l.at++
	if l.continued() {
		l.refuse("bit string")
	}
	return token{kind: literal}
}

// number reads a number. It refuses one that a name or a dollar follows directly: before version 15 that was a number and then a name, which may end
// elsewhere (1_$$), and since 15 it is an error. 0x1F and 1_000 are numbers since 16. Before that their second half is an alias or an error, but
// never a call.
func (l *lexer) number() token {
	if l.peek(0) == '0' && strings.IndexByte("xXoObB", l.peek(1)) >= 0 {
		l.at += 2
		l.run(func(c byte) bool { return isDigit(c) || c == '_' || 'a' <= c|0x20 && c|0x20 <= 'f' })
	} else {
		digits := func(c byte) bool { return isDigit(c) || c == '_' }
		l.run(digits)
		if l.peek(0) == '.' {
			l.at++
			l.run(digits)
		}
		if c := l.peek(0); c == 'e' || c == 'E' {
			exponent := 1
			if s := l.peek(1); s == '+' || s == '-' {
				exponent = 2
			}
			if isDigit(l.peek(exponent)) {
				l.at += exponent
				l.run(digits)
			}
		}
	}
	if isName(l.peek(0)) {
		l.refuse("number")
	}
	return token{kind: literal}
}

// dollar reads a parameter or a string in dollar quotes.
func (l *lexer) dollar() token {
	from := l.at
	l.at++
	if isDigit(l.peek(0)) {
		l.run(isDigit)
		if isName(l.peek(0)) {
			l.refuse("parameter") // an error since version 15; before, a parameter and then a name
		}
		return token{kind: param}
	}
	if isNameStart(l.peek(0)) {
		l.run(func(c byte) bool { return isName(c) && c != '$' })
	}
	if l.peek(0) != '$' {
		l.refuse("character")
		return token{}
	}
	l.at++
	tag := l.text[from:l.at]
	end := strings.Index(l.text[l.at:], tag)
	if end < 0 {
		l.refuse("unterminated string")
		return token{}
	}
	l.at += end + len(tag)
	return token{kind: literal}
}

// isSpace reports whether c is white space in all versions. The vertical tab is white space only since 16, so the lexer refuses it.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func notNewline(c byte) bool { return c != '\n' && c != '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameStart(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80 }

func isName(c byte) bool { return isNameStart(c) || isDigit(c) || c == '$' }

func isOperator(c byte) bool { return strings.IndexByte(operatorChars, c) >= 0 }

// First returns the first word of a text, in lower case. It skips comments and opening parentheses, and returns "" if something else comes first.
func First(sql string) string {
	l := lexer{text: sql}
	for l.space() && l.refused == "" {
		if t := l.token(); !t.is("(") {
			if t.kind == word && l.refused == "" {
				return t.text
			}
			break
		}
	}
	return ""
}
