package session

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Guard is the second line of defence of a lane, behind the choice of who rides: whatever a read turns out to do, it cannot write, wait for a
// lock or keep others waiting for long. It comes in two forms.
//
// Local is transaction-local and travels in the statement's own segment, in front of it: if it fails, PostgreSQL skips the statement too. It
// costs about a quarter of the throughput.
//
// On is set once and holds until Off takes it off; never behind a pooler, where it would be set in a session of somebody else. Segments do not
// depend on each other, so what follows a session guard that failed would run unguarded: it counts only when its reply was read, and until then
// Local travels along.
//
// set_config is called by its full name, and everything in it is a literal, so that no search_path can put something else in its place. With NULL
// it does what RESET does: what Off leaves is what the server, the role or the connection string says, also what the server has come to say since
// the session began. A server that is made read-only by a reload of its configuration is read-only for a lane's session too. Only what
// AfterConnect has set is set again.
type Guard struct {
	Local, On, Off string
	Look           string // Local, with more time: nobody waits behind a look
	readOnly       string // the session's own default_transaction_read_only
}

// What a statement may take on a lane, unless the session itself allows less.
const (
	StatementTimeout = 100 * time.Millisecond
	LockTimeout      = 50 * time.Millisecond

	lookStatementTimeout = 2 * time.Second // of each question that is asked about statements, alone
)

// Guard makes the guard of a connection with that session.
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
		// To compile the questions takes seconds, to run them milliseconds. The session's own timeout is for the user's statements.
		Look: set(true, "transaction_read_only", "'on'", atMost("0", lookStatementTimeout), lock) + ", pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)",
		On:   set(false, pgerr.ReadOnlySetting, "'on'", statement, lock),
		Off: set(false, pgerr.ReadOnlySetting, again(pgerr.ReadOnlySetting, b.ReadOnly),
			again("statement_timeout", b.statementTimeout), again("lock_timeout", b.lockTimeout)),
		readOnly: b.ReadOnly,
	}
}

// atMost is a timeout of the server's, or bound if that is shorter, as a literal. "0" is none.
func atMost(setting string, bound time.Duration) string {
	unit := strings.TrimLeft(setting, "0123456789")
	n, err := strconv.ParseInt(strings.TrimSuffix(setting, unit), 10, 64)
	of, ok := map[string]time.Duration{"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	if err == nil && ok && n > 0 && n < int64(bound/of) {
		return "'" + setting + "'"
	}
	return fmt.Sprintf("'%dms'", bound.Milliseconds())
}

// Intact reports whether nobody else has changed what the guard sets; on says whether it is on. From version 14 on the server
// reports the one that matters with every change.
func (g *Guard) Intact(pc *pgconn.PgConn, on bool) bool {
	want := g.readOnly
	if on {
		want = "on"
	}
	have := pc.ParameterStatus(pgerr.ReadOnlySetting)
	return have == "" || have == want
}
