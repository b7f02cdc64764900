package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
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
		says = append(says, "do "+QuoteText(b.deallocates()), "execute "+witness)
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
		is := "name operator(pg_catalog.=) " + QuoteText(name)
		w.WriteString(" and not " + is)
		if text != "" {
			is += " and statement operator(pg_catalog.=) " + QuoteText(text)
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

// QuoteText returns s as a literal that means the same whatever standard_conforming_strings is.
func QuoteText(s string) string {
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

// Guard is SQL that sets the settings under which the reads on a lane run. The first protection is the choice of the reads that may ride. The guard is
// the second: a read that does more than it should cannot write, wait long for a lock, or run long. No search_path can replace what the guard calls.
//
// Local is for one transaction, and travels in front of the statement in the statement's own segment. If Local fails, PostgreSQL skips the statement. It
// costs about a quarter of the throughput. So On is sent once and holds until Off, except behind a pooler, where another client may use the session. A
// segment after that of On runs even if On fails, so each segment has Local too until the reply to On was read.
//
// Off sets again what AfterConnect has set, and resets the rest by setting NULL. So the session is read-only then if the server's configuration is.
type Guard struct {
	Local, On, Off string
	Look           string // Local with more time, for the pool's looks at functions, for which no caller waits
	readOnly       string // the value of the session's own default_transaction_read_only
}

// These bound the time of a statement on a lane, unless the session's own timeout is shorter.
const (
	StatementTimeout = 100 * time.Millisecond
	LockTimeout      = 50 * time.Millisecond

	lookStatementTimeout = 2 * time.Second // for each question of a look
)

// Guard returns the guard for connections whose session was like b.
func (b *Baseline) Guard() *Guard {
	set := func(local bool, name, readOnly, statement, lock string) string {
		return fmt.Sprintf("select pg_catalog.set_config('%s', %s, %t), pg_catalog.set_config('statement_timeout', %s, %[3]t), pg_catalog.set_config('lock_timeout', %[5]s, %[3]t)",
			name, readOnly, local, statement, lock)
	}
	again := func(name, value string) string {
		if slices.Contains(b.set, name) {
			return "'" + value + "'"
		}
		return "null"
	}
	statement, lock := atMost(b.statementTimeout, StatementTimeout), atMost(b.lockTimeout, LockTimeout)
	return &Guard{
		Local: set(true, "transaction_read_only", "'on'", statement, lock),
		// jit is off: compiling the questions takes seconds, running them milliseconds. The session's own timeout is for the user's statements.
		Look: set(true, "transaction_read_only", "'on'", atMost("0", lookStatementTimeout), lock) + ", pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)",
		On:   set(false, pgerr.ReadOnlySetting, "'on'", statement, lock),
		Off: set(false, pgerr.ReadOnlySetting, again(pgerr.ReadOnlySetting, b.ReadOnly),
			again("statement_timeout", b.statementTimeout), again("lock_timeout", b.lockTimeout)),
		readOnly: b.ReadOnly,
	}
}

// atMost returns, as a literal, the shorter one of bound and setting, which is a timeout as the server shows it ("0" means none).
func atMost(setting string, bound time.Duration) string {
	unit := strings.TrimLeft(setting, "0123456789")
	n, err := strconv.ParseInt(strings.TrimSuffix(setting, unit), 10, 64)
	of, ok := map[string]time.Duration{"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	if err == nil && ok && n > 0 && n < int64(bound/of) {
		return "'" + setting + "'"
	}
	return fmt.Sprintf("'%dms'", bound.Milliseconds())
}

// Intact reports whether default_transaction_read_only is as the guard, which is on or off, has left it. The server reports it since version 14.
func (g *Guard) Intact(pc *pgconn.PgConn, on bool) bool {
	want := g.readOnly
	if on {
		want = "on"
	}
	have := pc.ParameterStatus(pgerr.ReadOnlySetting)
	return have == "" || have == want
}
