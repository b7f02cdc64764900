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

// ErrNoReset says that a session has to be closed.
var ErrNoReset = errors.New("nothing takes away what its session has")

const failClosed = "set exit_on_error = on"

// FailClosed has every error end the session. A statement_timeout of a millisecond that somebody has left can be over before that
// is said, on a busy machine: then what comes behind would run in a session that was not reset. So it is said once in a Query of
// its own and once more in the reset, before which the timeout is taken off for the rest.
func FailClosed() pgwire.Prologue { return pgwire.Try(failClosed) }

// Reset is what takes away what trace says, as one simple Query. It is nothing that settings, search_path or a planted function
// could change. plans: what the server has planned goes too.
func (b *Baseline) Reset(trace sqltext.Trace, plans bool, pc *pgconn.PgConn) (p pgwire.Prologue, err error) {
	// It is read as it was meant only if the encoding is that of what AfterConnect has set, or all of that is ASCII.
	readable := pc.ParameterStatus("client_encoding") == b.reported[slices.Index(reported[:], "client_encoding")] ||
		!strings.ContainsFunc(fmt.Sprint(b.restore, b.Prepared), func(r rune) bool { return r >= utf8.RuneSelf })
	if trace >= sqltext.LastingTrace || b.Lasting || !readable {
		return p, ErrNoReset
	}
	says := []string{
		failClosed, "set statement_timeout = 0", "set transaction isolation level read committed", "set session authorization default", "reset role",
		"reset all", failClosed, "close all",
	}
	if pc.ParameterStatus("in_hot_standby") != "on" { // it is refused there, and so was LISTEN
		says = append(says, "unlisten *")
	}
	// A seed that somebody has set, in whatever way, would tell him what the next user calls random.
	says = append(says, "select pg_catalog.pg_advisory_unlock_all()", "discard temp", "set seed = "+strconv.FormatFloat(2*rand.Float64()-1, 'f', -1, 64))
	if plans { // as they were made under other settings, and mean something else
		says = append(says, "discard plans")
	}
	says = append(says, b.restore...)
	if trace == sqltext.AnyTrace { // in the role that was asked whether it may use PL/pgSQL
		says = append(says, "do "+quoteText(b.deallocates()), "execute "+witness)
	}
	exits := "reset exit_on_error"
	if b.exits != "" {
		exits = "set exit_on_error = " + b.exits
	}
	return pgwire.Query(strings.Join(append(says, exits), "; ")), nil
}

// deallocates is a block that drops what was prepared in SQL, and fails if a statement of AfterConnect's is gone.
// The server makes a row of everything that is prepared, pgx's statements too: some 0.5 to 1 µs for each. It has no cheaper sign that PREPARE ran.
func (b *Baseline) deallocates() string {
	var w strings.Builder
	w.WriteString("declare n pg_catalog.text; begin for n in select name from pg_catalog.pg_prepared_statement() where from_sql")
	there := make([]string, 0, len(b.Prepared)) // what AfterConnect has prepared, as it was
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

// quoteText is s as a string that means the same whatever standard_conforming_strings is.
func quoteText(s string) string {
	return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
}

// LeaveWitness prepares the witness.
func LeaveWitness() pgwire.Prologue {
	b, _ := (&pgproto3.Parse{Name: witness, Query: "select"}).Encode(nil)
	b, _ = (&pgproto3.Sync{}).Encode(b)
	return pgwire.Prologue{Messages: b, Simple: true}
}

// DropNamed drops the statements that users have prepared in c's session under names of their own, on both sides: pgx would take
// the next user's statement of the same name for this one, or go on believing in one that only the server has dropped.
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
		if strings.HasPrefix(name, "stmt_") { // to pgx its name is its text; the server has no more to do
			if err := c.Deallocate(ctx, statement); err != nil {
				return err
			}
		}
	}
	if kept <= len(b.Prepared) {
		return ErrNoReset // a statement of AfterConnect's is gone, or all
	}
	return nil
}
