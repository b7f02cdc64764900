package sqltext

import (
	"regexp"
	"slices"
	"strings"
)

// Plainest are the first words of what cannot but run in the transaction that it is in: queries and changes of data. Batchable are
// those of what a batch may have besides.
var (
	Plainest  = []string{"select", "insert", "update", "delete", "with", "values", "table", "merge"}
	Batchable = []string{"set", "lock", "notify", "truncate"}
)

// CommitsOnItsWay reports whether sql, outside a transaction, may commit something and fail afterwards without the server
// having said COMMIT: a procedure, DO, VACUUM, CREATE INDEX CONCURRENTLY and the like.
func CommitsOnItsWay(sql string) bool {
	switch first := First(sql); {
	case slices.Contains(atOnce, first):
		return false
	case slices.Contains([]string{"create", "alter", "drop", "refresh"}, first):
		return apartOnly.MatchString(sql)
	}
	return true
}

// atOnce are the first words of what happens as a whole or not at all, or says COMMIT.
var atOnce = append([]string{
	"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare", "execute", "deallocate", "copy", "grant", "revoke",
	"comment", "declare", "fetch", "move", "close", "explain", "show", "reset", "listen", "unlisten", "load", "security", "checkpoint", "reassign", "import",
}, slices.Concat(Plainest, Batchable)...)

// apartOnly finds in the text of a command what may not run inside a transaction, since it commits on its way.
var apartOnly = regexp.MustCompile(`(?i)\b(concurrently|database|tablespace|subscription|system)\b`)

// MayEndTx reports whether sql can end the transaction that it runs in. It may be what a lease says that it does, too: "batch", "savepoint".
func MayEndTx(sql string) bool {
	return !slices.Contains(staysInside, First(sql)) || strings.Contains(sql, ";") && endsInside.MatchString(sql)
}

// staysInside are the first words of what cannot end a transaction.
var staysInside = append([]string{
	"begin", "savepoint", "release", "copy", "batch", "ping", "call", "do", "create", "alter", "drop", "grant", "revoke", "comment", "declare",
	"fetch", "move", "close", "explain", "refresh", "analyze", "show", "reset", "listen", "unlisten", "deallocate",
}, slices.Concat(Plainest, Batchable)...)

// endsInside finds in a text of several statements what may be one that ends a transaction.
var endsInside = regexp.MustCompile(`(?i)\b(commit|end|rollback|abort|prepare|execute)\b`)
