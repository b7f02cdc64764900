package sqltext

import "slices"

// Aside reports whether sql takes no snapshot and runs no code of the user's own, but for triggers that were deferred: each of its
// statements may come before SET TRANSACTION, or before a LOCK whose transaction is to see what was committed until it has it.
func Aside(sql string) bool {
	tokens, refused := lex(sql)
	if refused != "" {
		return false
	}
	for len(tokens) > 0 {
		end := slices.IndexFunc(tokens, func(t token) bool { return t.is(";") })
		if end < 0 {
			end = len(tokens)
		}
		if end > 0 && !tokens[0].word("set", "reset", "show", "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
			"listen", "unlisten", "notify", "lock") {
			return false
		}
		tokens = tokens[min(end+1, len(tokens)):]
	}
	return true
}
