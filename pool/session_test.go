package pool_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// AcquireFor runs again what did not run because its connection was lost, and nothing else, and gives back each lease but the last.
func TestAcquireForRunsAgainWhatDidNotRun(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgtest.Database(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2})
	other, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer other.Close(ctx)
	_, err = p.Exec(ctx, "create table items (id int primary key)")
	require.NoError(t, err)

	runs := 0
	l, err := p.AcquireFor(ctx, func(l *pool.Lease) error {
		if runs++; runs == 1 {
			var pid uint32
			require.NoError(t, l.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid))
			_, err := other.Exec(ctx, "select pg_terminate_backend($1, 20000)", pid)
			require.NoError(t, err)
		}
		_, err := l.Exec(ctx, "insert into items values (1)")
		return err
	})
	require.NoError(t, err)
	assert.Equal(t, 2, runs)
	assert.EqualValues(t, 1, p.Stat().AcquiredConns())
	_, err = l.Exec(ctx, "set app.x = 'y'")
	require.NoError(t, err, "the lease is still the caller's")
	l.Release()

	for _, failed := range []error{errors.New("mine"), nil} {
		runs = 0
		l, err = p.AcquireFor(ctx, func(l *pool.Lease) error {
			runs++
			if failed != nil {
				return failed
			}
			_, err := l.Exec(ctx, "insert into items values (1)")
			return err
		})
		require.Error(t, err)
		require.NotNil(t, l, "the caller has the lease, whatever f has returned")
		assert.Equal(t, 1, runs)
		l.Release()
	}

	// A statement whose prepared form is stale did not run either.
	read := func(l *pool.Lease) error {
		rows, err := l.Query(ctx, "select * from items")
		if err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	}
	for range 3 {
		l, err = p.AcquireFor(ctx, read)
		require.NoError(t, err)
		l.Release()
		_, err = other.Exec(ctx, "alter table items add column if not exists c"+fmt.Sprint(runs)+" int")
		require.NoError(t, err)
		runs++
	}

	// A panic in f costs nothing, and the settings of With are those of the lease.
	assert.Panics(t, func() { _, _ = p.AcquireFor(ctx, func(*pool.Lease) error { panic("f") }) })
	var tenant string
	l, err = p.With(map[string]string{"app.tenant": "a"}).AcquireFor(ctx, func(l *pool.Lease) error {
		return l.QueryRow(ctx, "select current_setting('app.tenant')").Scan(&tenant)
	})
	require.NoError(t, err)
	l.Release()
	assert.Equal(t, "a", tenant)
	_, err = p.AcquireFor(ctx, nil)
	require.Error(t, err)
	eventually(t, "all is given back", func() bool { return p.Stat().AcquiredConns() == 0 })
}
