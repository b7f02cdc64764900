package sqltext

import "slices"

// Aside reports whether sql takes no snapshot and runs no code of the user's own, except deferred triggers. Such a statement may come in front of SET
// TRANSACTION, or of a LOCK behind which the transaction must see all that was committed before it got the lock.
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
