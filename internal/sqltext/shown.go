package sqltext

import (
	"math"
	"strings"
)

// Normalize returns sql with each literal replaced by ?, without comments, and with one space where there was white space. Two statements that differ only in
// their literals have the same normal text, and it can be shown, because values that are not in arguments are literals.
//
// If a part of sql cannot be read, the text ends there with "…", since nobody can say where the next literal begins.
func Normalize(sql string) string { return Shown(sql, math.MaxInt) }

// Shown is Normalize, cut to about n bytes. The rest of sql is not looked at.
func Shown(sql string, n int) string {
	// With standard_conforming_strings off, \' does not end a string. A text that has it is not read beyond that string.
	l := lexer{text: strings.ToValidUTF8(sql, "\uFFFD"), plain: !strings.Contains(sql, `\'`), long: true}
	var b strings.Builder
	b.Grow(min(len(sql), n) + len("…"))
	for from := 0; l.space(); from = l.at {
		if l.at > from && b.Len() > 0 {
			b.WriteByte(' ')
		}
		from = l.at
		t := l.token()
		if l.refused != "" {
			b.WriteString("…")
			break
		} else if b.Len() >= n {
			return Cut(b.String(), n-1)
		}
		if t.kind == literal {
			b.WriteByte('?')
		} else {
			b.WriteString(l.text[from:l.at])
		}
	}
	return Cut(b.String(), n)
}
