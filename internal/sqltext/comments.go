package sqltext

import "strings"

// WithoutComments returns sql with a space in the place of each comment. So texts that differ only in their comments become the same text. A text that
// lex refuses is returned unchanged.
func WithoutComments(sql string) string {
	if !strings.Contains(sql, "--") && !strings.Contains(sql, "/*") {
		return sql
	}
	l := lexer{text: sql}
	var b strings.Builder
	for end := 0; ; {
		more := l.space()
		if l.refused != "" {
			return sql
		}
		if gap := sql[end:l.at]; strings.ContainsAny(gap, "-/") {
			b.WriteByte(' ')
		} else {
			b.WriteString(gap)
		}
		if !more {
			return b.String()
		}
		from := l.at
		if l.token(); l.refused != "" {
			return sql
		}
		b.WriteString(sql[from:l.at])
		end = l.at
	}
}
