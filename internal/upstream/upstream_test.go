package upstream

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/session"
)

func found(c Config) *Recognition {
	c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return New(c)
}

func answered(q *Reach, by, login uint32) error {
	return q.Answered(session.Backend{PID: by}, login, &net.TCPAddr{})
}

func TestWhatWasSaidIsNotAsked(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Unknown, Direct, Pooled} {
		q := found(Config{Said: kind, Isolation: true}).Dial()
		q.Dialed(pgx.QueryExecModeCacheDescribe)
		assert.Equal(t, kind == Direct, q.Own())
		assert.Equal(t, kind == Pooled, q.Pooled())
		assert.True(t, q.Isolates())
		q.Dialed(pgx.QueryExecModeExec)
		assert.False(t, q.Isolates(), "no reset can travel in that mode")
	}
}

func TestADialIsMadeAgainInTheModeForWhatItHasFound(t *testing.T) {
	t.Parallel()
	r := found(Config{Asks: true, Isolation: true, PoolerMode: pgx.QueryExecModeCacheDescribe})
	mode := func(q *Reach) pgx.QueryExecMode {
		cc := &pgx.ConnConfig{DefaultQueryExecMode: pgx.QueryExecModeCacheStatement}
		q.Prepare(cc)
		return cc.DefaultQueryExecMode
	}
	q := r.Dial()
	assert.Equal(t, pgx.QueryExecModeCacheStatement, mode(q))
	assert.ErrorIs(t, answered(q, 1, 2), ErrOtherMode)
	assert.Equal(t, pgx.QueryExecModeCacheDescribe, mode(q))
	assert.NoError(t, answered(q, 1, 1), "a direct one may be described for")
	assert.True(t, q.Own())

	assert.NoError(t, answered(r.Dial(), 3, 3))
	q = r.Dial()
	assert.Equal(t, pgx.QueryExecModeCacheStatement, mode(q), "the last one was direct")
	assert.ErrorIs(t, answered(q, 3, 4), ErrOtherMode)
	assert.Equal(t, pgx.QueryExecModeCacheDescribe, mode(q))
	assert.NoError(t, answered(q, 3, 4))
	assert.Equal(t, pgx.QueryExecModeCacheDescribe, mode(r.Dial()), "the last one was pooled")
	assert.True(t, r.MetPooler())
}

func TestOneProcessThatAnswersTwoIsAskedAgain(t *testing.T) {
	t.Parallel()
	r := found(Config{Asks: true, Isolation: true})
	first, second, third := r.Dial(), r.Dial(), r.Dial()
	for _, q := range []*Reach{first, second, third} {
		q.askAt = time.Now().Add(time.Hour)
	}
	assert.NoError(t, answered(first, 1, 2))
	assert.False(t, first.Wonders(time.Now()))
	assert.NoError(t, answered(second, 1, 3))
	assert.True(t, first.Wonders(time.Now()))
	assert.False(t, second.Wonders(time.Now()))
	second.Left()
	assert.NoError(t, answered(third, 1, 4))
	assert.False(t, second.Wonders(time.Now()), "it was closed before")
}

func TestASharedSessionIsNobodysToMend(t *testing.T) {
	t.Parallel()
	r := found(Config{Asks: true, Isolation: true})
	own, pooled := r.Dial(), r.Dial()
	assert.NoError(t, answered(own, 1, 1))
	assert.NoError(t, answered(pooled, 2, 3))
	taken := &pgconn.PgError{Code: "42P05", Message: `prepared statement "stmtcache_c0ffee" already exists`}
	own.Conflicts(taken)
	pooled.Conflicts(&pgconn.PgError{Code: "42P05", Message: `prepared statement "mine" already exists`})
	assert.True(t, pooled.Isolates(), "its user may have prepared that twice")
	pooled.Conflicts(taken)
	assert.False(t, pooled.Isolates())
	assert.True(t, own.Isolates())
}
