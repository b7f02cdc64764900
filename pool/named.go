package pool

import (
	"slices"
	"strings"
)

// To pgx a text may be the name of a statement that was prepared, whatever the text reads like: after
// Prepare("lock", "select …") an Exec of "lock" executes that.

// names notes that name is prepared as sql, or may be. sql is "" if it is not known.
func (c *conn) names(name, sql string) {
	if name == "" {
		return
	}
	if c.named == nil {
		c.named = make(map[string]string)
	}
	c.named[name] = sql
}

// watchedNames notes what somebody with the raw connection has prepared, but for what pgx and the pool name themselves.
func (c *conn) watchedNames(names []string) {
	for _, name := range names {
		if !slices.ContainsFunc([]string{"stmtcache_", "stmt_", "lmipool_"}, func(own string) bool { return strings.HasPrefix(name, own) }) {
			c.names(name, "")
		}
	}
}

// isName reports whether sql is the name of a statement that a user or AfterConnect has prepared.
func (c *conn) isName(sql string) bool {
	_, named := c.named[sql]
	if !named && c.session != nil {
		_, named = c.session.Prepared[sql]
	}
	return named
}

// meantBy is what sql executes: itself, or what is prepared under that name. ok is false if nobody knows that.
func (c *conn) meantBy(sql string) (text string, ok bool) {
	if !c.isName(sql) {
		return sql, true
	}
	text, named := c.named[sql]
	if !named {
		text = c.session.Prepared[sql]
	}
	return text, text != ""
}
