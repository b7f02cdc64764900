package sqltext

import "slices"

// Names returns every name and keyword in a text that [Scan] does not refuse, each once: whatever relation the text
// reads is among them.
func Names(sql string) []string {
	var names []string
	tokens, _ := lex(sql, statementText)
	for _, t := range tokens {
		if t.name() {
			names = append(names, t.text)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// First returns the first word of a text, in lower case: "" if there is none in front of anything but parentheses.
func First(sql string) string {
	l := lexer{text: sql, dialect: statementText}
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
