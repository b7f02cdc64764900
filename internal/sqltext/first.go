package sqltext

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
