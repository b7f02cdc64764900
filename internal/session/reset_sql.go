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

// errNoReset is why a session has to be closed.
var errNoReset = errors.New("nothing takes away what its session has")

const failClosed = "set exit_on_error = on"

// FailClosed makes every error end the session, so that what travels behind a reset never runs in a session that was not reset. The reset begins with
// the same; but a user may have left a statement_timeout of a millisecond, and a busy server may stop the reset before it has set that.
func FailClosed() pgwire.Prologue { return pgwire.Try(failClosed) }

// Reset returns, as one simple Query that no user can change, what takes away what trace says, and with plans also what the server has planned.
func (b *Baseline) Reset(trace sqltext.Trace, plans bool, pc *pgconn.PgConn) (p pgwire.Prologue, err error) {
	// The server understands it only if the encoding is that in which AfterConnect has set something, or all of that is ASCII.
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
	// Who has set a seed, in whatever way, would know the next user's random numbers.
	says = append(says, "select pg_catalog.pg_advisory_unlock_all()", "discard temp", "set seed = "+strconv.FormatFloat(2*rand.Float64()-1, 'f', -1, 64))
	if plans { // they were made under other settings, and mean something else
		says = append(says, "discard plans")
	}
	says = append(says, b.restore...)
	if trace == sqltext.AnyTrace { // after b.restore, since Deallocates is about the role that this sets
		says = append(says, "do "+quoteText(b.deallocates()), "execute "+witness)
	}
	exits := "reset exit_on_error"
	if b.exits != "" {
		exits = "set exit_on_error = " + b.exits
	}
	return pgwire.Query(strings.Join(append(says, exits), "; ")), nil
}

// deallocates returns a block that drops what was prepared in SQL, and fails if a statement of AfterConnect's is gone.
// The server makes a row of everything that is prepared, pgx's statements too: about 1 µs each, also below LIMIT and EXISTS. PREPARE leaves no cheaper
// sign. Inside a function it has no tag on the wire, no event trigger fires, and no statistics count it. pg_backend_memory_contexts has a row for each
// statement too, and is for superusers and pg_read_all_stats.
func (b *Baseline) deallocates() string {
	var w strings.Builder
	w.WriteString("declare n pg_catalog.text; begin for n in select name from pg_catalog.pg_prepared_statement() where from_sql")
	there := make([]string, 0, len(b.Prepared)) // conditions, one for each statement of AfterConnect's
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

// LeaveWitness prepares the witness.
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
		if strings.HasPrefix(name, "stmt_") { // pgx has given it this name, and knows it by its text
			if err := c.Deallocate(ctx, statement); err != nil {
				return err
			}
		}
	}
	if kept <= len(b.Prepared) {
		return errNoReset // a statement of AfterConnect's is gone, or all are
	}
	return nil
}
