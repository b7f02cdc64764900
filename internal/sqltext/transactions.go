package sqltext

import (
	"slices"
	"strings"

	"github.com/lmipool/lmipool/internal/pattern"
)

// Plainest has the first words of queries and changes of data, which never end the transaction that they run in. Batchable has the first words of the
// other statements that a batch may have.
var (
	Plainest  = []string{"select", "insert", "update", "delete", "with", "values", "table", "merge"}
	Batchable = []string{"set", "lock", "notify", "truncate"}
)

// CommitsOnItsWay reports whether sql, outside a transaction, may commit something and then fail, without a COMMIT in the server's answer.
// Procedures, DO, VACUUM, CREATE INDEX CONCURRENTLY and the like can do that.
func CommitsOnItsWay(sql string) bool {
	switch first := First(sql); {
	case slices.Contains(atOnce, first):
		return false
	case slices.Contains([]string{"create", "alter", "drop", "refresh"}, first):
		return apartOnly.RE().MatchString(sql)
	}
	return true
}

// atOnce has the first words of statements that take effect as a whole or not at all, or whose answer says COMMIT.
var atOnce = append([]string{
	"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare", "execute", "deallocate", "copy", "grant", "revoke",
	"comment", "declare", "fetch", "move", "close", "explain", "show", "reset", "listen", "unlisten", "load", "security", "checkpoint", "reassign", "import",
}, slices.Concat(Plainest, Batchable)...)

// apartOnly matches the text of a command that must not run inside a transaction, because it commits before it ends.
var apartOnly = pattern.Lazy{Text: `(?i)\b(concurrently|database|tablespace|subscription|system)\b`}

// MayEndTx reports whether sql can end the transaction in which it runs. sql may also be the name that a lease gives to an operation, such as "batch"
// or "savepoint".
func MayEndTx(sql string) bool {
	return !slices.Contains(staysInside, First(sql)) || strings.Contains(sql, ";") && endsInside.RE().MatchString(sql)
}

// staysInside has the first words of statements that cannot end a transaction.
var staysInside = append([]string{
	"begin", "savepoint", "release", "copy", "batch", "ping", "call", "do", "create", "alter", "drop", "grant", "revoke", "comment", "declare",
	"fetch", "move", "close", "explain", "refresh", "analyze", "show", "reset", "listen", "unlisten", "deallocate",
}, slices.Concat(Plainest, Batchable)...)

// endsInside matches a text of several statements if one of them may end a transaction.
var endsInside = pattern.Lazy{Text: `(?i)\b(commit|end|rollback|abort|prepare|execute)\b`}

// Aside reports whether sql takes no snapshot and runs no code of the user's own, except deferred triggers. Such a statement may come in front of SET
// TRANSACTION, or of a LOCK behind which the transaction must see all that was committed before it got the lock.
func Aside(sql string) bool {
	ts, refused := lex(sql)
	return refused == "" && !slices.ContainsFunc(ts.statements(), func(one tokens) bool {
		return !one[0].word("set", "reset", "show", "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
			"listen", "unlisten", "notify", "lock")
	})
}
