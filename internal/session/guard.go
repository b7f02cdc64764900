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
