package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// ErrNoReset says that a session has to be closed.
var ErrNoReset = errors.New("nothing takes away what its session has")

// readable reports whether the server reads what a reset says as it was meant: the encoding
// may be another than that of what AfterConnect has set.
func (b *Baseline) readable(pc *pgconn.PgConn) bool {
	return pc.ParameterStatus("client_encoding") == b.reported[slices.Index(reported[:], "client_encoding")] ||
		!strings.ContainsFunc(b.restore+fmt.Sprint(b.Prepared), func(r rune) bool { return r >= utf8.RuneSelf })
}

const failClosed = "set exit_on_error = on"

// FailClosed has every error end the session. A statement_timeout of a millisecond that
// somebody has left can be over before that is said, on a busy machine: then what comes
// behind would run in a session that was not reset. So it is said once in a Query of its
// own and once more in the reset, before which the timeout is taken off for the rest.
func FailClosed() pgwire.Prologue { return pgwire.Try(failClosed) }

// Reset is what takes away what trace says, as one simple Query. It is nothing that
// settings, search_path or a planted function could change. If a part of it fails, the
// session ends (exit_on_error): so what travels behind it never runs in a session that
// was not reset. Its transaction is not one that could have to wait for others
// (DEFERRABLE), or that a standby has not got. plans: what the server has planned goes too.
func (b *Baseline) Reset(trace sqltext.Trace, plans bool, pc *pgconn.PgConn) (p pgwire.Prologue, err error) {
	if trace >= sqltext.LastingTrace || b.Lasting || !b.readable(pc) {
		return p, ErrNoReset
	}
	var w strings.Builder
	w.WriteString(failClosed + "; set statement_timeout = 0; set transaction isolation level read committed; set session authorization default; reset role; reset all; " + failClosed + "; close all; ")
	if pc.ParameterStatus("in_hot_standby") != "on" { // it is refused there, and so was LISTEN
		w.WriteString("unlisten *; ")
	}
	// A seed that somebody has set, in whatever way, would tell him what the next user calls random.
	w.WriteString("select pg_catalog.pg_advisory_unlock_all(); discard temp; set seed = " + strconv.FormatFloat(2*rand.Float64()-1, 'f', -1, 64) + "; ")
	if plans { // as they were made under other settings, and mean something else
		w.WriteString("discard plans; ")
	}
	w.WriteString(b.restore)
	if trace == sqltext.AnyTrace { // in the role that was asked whether it may use PL/pgSQL
		w.WriteString("do " + quoteText(b.deallocates()) + "; execute " + witness + "; ")
	}
	if b.exits != "" {
		w.WriteString("set exit_on_error = " + b.exits)
	} else {
		w.WriteString("reset exit_on_error")
	}
	return pgwire.Query(w.String()), nil
}

// deallocates is a block that drops what was prepared in SQL, and fails if a statement of AfterConnect's is gone.
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
