package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// errNoReset says that a session cannot be reset and has to be closed.
var errNoReset = errors.New("nothing takes away what its session has")

const failClosed = "set exit_on_error = on"

// FailClosed returns a prologue that makes every error end the session. So a statement that travels behind a reset never runs in a session that was not
// reset. The reset itself begins with the same SQL, but a short statement_timeout that a user has left may stop the reset before that has run.
func FailClosed() pgwire.Prologue { return pgwire.Try(failClosed) }

// Reset returns one simple Query that takes away what users have left, as trace says. If plans is true, it drops the server's plans too. If nothing can
// take it away, Reset returns an error. Nothing that users did in the session can change what that Query does.
func (b *Baseline) Reset(trace sqltext.Trace, plans bool, pc *pgconn.PgConn) (p pgwire.Prologue, err error) {
	// The server reads b.restore and b.Prepared correctly only under the client_encoding of b, or if all of them is ASCII.
	readable := pc.ParameterStatus("client_encoding") == b.reported[slices.Index(reported[:], "client_encoding")] ||
		!strings.ContainsFunc(fmt.Sprint(b.restore, b.Prepared), func(r rune) bool { return r >= utf8.RuneSelf })
	if trace >= sqltext.LastingTrace || b.Lasting || !readable {
		return p, errNoReset
	}
	says := []string{
		failClosed, "set statement_timeout = 0", "set transaction isolation level read committed", "set session authorization default", "reset role",
		"reset all", failClosed, "close all",
	}
	if pc.ParameterStatus("in_hot_standby") != "on" { // a standby refuses LISTEN and UNLISTEN
		says = append(says, "unlisten *")
	}
	// A user who has set the seed would know the next user's random numbers.
	says = append(says, "select pg_catalog.pg_advisory_unlock_all()", "discard temp", "set seed = "+strconv.FormatFloat(2*rand.Float64()-1, 'f', -1, 64))
	if plans { // they were made under other settings, so they may be wrong now
		says = append(says, "discard plans")
	}
	says = append(says, b.restore...)
	if trace == sqltext.AnyTrace { // after b.restore, since Deallocates is about the role that b.restore sets
		says = append(says, "do "+quoteText(b.deallocates()), "execute "+witness)
	}
	exits := "reset exit_on_error"
	if b.exits != "" {
		exits = "set exit_on_error = " + b.exits
	}
	return pgwire.Query(strings.Join(append(says, exits), "; ")), nil
}

// deallocates returns the body of a DO that drops the statements that were prepared in SQL, and fails if a statement of AfterConnect is gone. The server
// makes a row of each prepared statement, pgx's too, which takes about 1 µs each, even under LIMIT or EXISTS. There is no cheaper way to see a PREPARE:
// inside a function it sends no tag, fires no event trigger, and is in no statistics. pg_backend_memory_contexts is not for everybody.
func (b *Baseline) deallocates() string {
	var w strings.Builder
	w.WriteString("declare n pg_catalog.text; begin for n in select name from pg_catalog.pg_prepared_statement() where from_sql")
	there := make([]string, 0, len(b.Prepared)) // one condition for each statement of AfterConnect
	for name, text := range b.Prepared {
		is := "name operator(pg_catalog.=) " + quoteText(name)
		w.WriteString(" and not " + is)
		if text != "" {
			is += " and statement operator(pg_catalog.=) " + quoteText(text)
		}
		there = append(there, is)
	}
	w.WriteString(" loop execute pg_catalog.format('deallocate %I', n); end loop;")
	if len(there) > 0 {
		fmt.Fprintf(&w, " if (select pg_catalog.count(*) from pg_catalog.pg_prepared_statement() where %s) operator(pg_catalog.<>) %d then raise 'a statement of AfterConnect is gone'; end if;",
			strings.Join(there, " or "), len(there))
	}
	w.WriteString(" end")
	return w.String()
}

// quoteText returns s as a literal that means the same whatever standard_conforming_strings is.
func quoteText(s string) string {
	return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
}

// LeaveWitness returns a prologue that prepares the witness.
func LeaveWitness() pgwire.Prologue {
	b, _ := (&pgproto3.Parse{Name: witness, Query: "select"}).Encode(nil)
	b, _ = (&pgproto3.Sync{}).Encode(b)
	return pgwire.Prologue{Messages: b, Simple: true}
}

// DropNamed drops the statements that users have prepared in c's session under names of their own. It drops them in pgx too: pgx would otherwise
// take the next user's statement of the same name for this one, or try to execute one that the server has dropped.
func (b *Baseline) DropNamed(ctx context.Context, c *pgx.Conn) error {
	r := c.PgConn().ExecParams(ctx, `select name, statement from pg_catalog.pg_prepared_statements
		where from_sql or name operator(pg_catalog.!~) '^(stmtcache_|lmipool_)' or name operator(pg_catalog.=) '`+witness+`'`, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	kept := 0
	for _, row := range r.Rows {
		name, statement := string(row[0]), string(row[1])
		if _, ours := b.Prepared[name]; ours || name == witness {
			kept++
			continue
		}
		if err := c.Deallocate(ctx, name); err != nil {
			return err
		}
		if strings.HasPrefix(name, "stmt_") { // pgx has made this name, and finds the statement by its text
			if err := c.Deallocate(ctx, statement); err != nil {
				return err
			}
		}
	}
	if kept <= len(b.Prepared) {
		return errNoReset // a statement of AfterConnect, or the witness, is gone
	}
	return nil
}
