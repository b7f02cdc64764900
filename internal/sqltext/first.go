package sqltext

// First returns the first word of a text, in lower case: "" if there is none in front of anything but parentheses.
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
