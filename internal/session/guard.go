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

// Guard is SQL that sets what the reads on a lane run under. It is a second protection, behind the choice of what rides: whatever a read turns out to
// do, it cannot write, wait for a lock, or keep others waiting for long. No search_path can replace what it calls.
//
// Local is transaction-local and travels in the statement's own segment, in front of it. If it fails, PostgreSQL skips the statement too. It costs about
// a quarter of the throughput. On is set once and holds until Off, but never behind a pooler, where the session may be somebody else's. What follows On
// in another segment runs even if On fails; so Local travels along until the reply to On was read.
//
// Off sets again what AfterConnect has set. Else it sets NULL, which does what RESET does: so if the server's configuration has become read-only
// meanwhile, a lane's session becomes so too.
type Guard struct {
	Local, On, Off string
	Look           string // Local with more time, for looks, behind which nobody waits
	readOnly       string // the session's own default_transaction_read_only
}

// What a statement may take on a lane, unless the session itself allows less.
const (
	StatementTimeout = 100 * time.Millisecond
	LockTimeout      = 50 * time.Millisecond

	lookStatementTimeout = 2 * time.Second // of each question of a look
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
		// jit is off: to compile the questions takes seconds, to run them milliseconds. The session's own timeout is for the user's statements.
		Look: set(true, "transaction_read_only", "'on'", atMost("0", lookStatementTimeout), lock) + ", pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)",
		On:   set(false, pgerr.ReadOnlySetting, "'on'", statement, lock),
		Off: set(false, pgerr.ReadOnlySetting, again(pgerr.ReadOnlySetting, b.ReadOnly),
			again("statement_timeout", b.statementTimeout), again("lock_timeout", b.lockTimeout)),
		readOnly: b.ReadOnly,
	}
}

// atMost returns the shorter of setting, a timeout as the server shows it ("0" is none), and bound, as a literal.
func atMost(setting string, bound time.Duration) string {
	unit := strings.TrimLeft(setting, "0123456789")
	n, err := strconv.ParseInt(strings.TrimSuffix(setting, unit), 10, 64)
	of, ok := map[string]time.Duration{"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	if err == nil && ok && n > 0 && n < int64(bound/of) {
		return "'" + setting + "'"
	}
	return fmt.Sprintf("'%dms'", bound.Milliseconds())
}

// Intact reports whether default_transaction_read_only is what the guard, which is on or off, has left. The server reports it since version 14.
func (g *Guard) Intact(pc *pgconn.PgConn, on bool) bool {
	want := g.readOnly
	if on {
		want = "on"
	}
	have := pc.ParameterStatus(pgerr.ReadOnlySetting)
	return have == "" || have == want
}
