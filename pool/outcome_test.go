package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

func TestOutcomeUnknownByTheError(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, fmt.Errorf("receive message: %w", io.EOF),
		&pgconn.PgError{Severity: "FATAL", Code: "57P01"}, &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P02"},
	} {
		assert.True(t, pool.OutcomeUnknown(err), "%v", err)
	}
	for _, err := range []error{
		nil, pool.ErrClosed, pool.ErrInvocationEnded, pgx.ErrNoRows, pgx.ErrTxCommitRollback, errors.New("the user's own"),
		&pool.AcquireError{Err: context.DeadlineExceeded}, &pgconn.PgError{Severity: "ERROR", Code: "23505"},
		&pgconn.PgError{Severity: "ERROR", Code: "57014"}, &pgconn.PgError{Severity: "ERROR", Code: "40001"},
	} {
		assert.False(t, pool.OutcomeUnknown(err), "%v", err)
	}
}

func TestAWriteWhoseConnectionIsLostHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t (id int)")
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for b.see.count("select count(*) from pg_stat_activity where query like '%pg_sleep(10)%' and pid <> pg_backend_pid()") == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		b.see.count("select count(pg_terminate_backend(pid)) from pg_stat_activity where query like '%pg_sleep(10)%' and pid <> pg_backend_pid()")
	})
	_, err := b.p.Exec(ctx, "insert into t select 1 from pg_sleep(10)")
	require.Error(t, err)
	assert.True(t, pool.OutcomeUnknown(err), "%v", err)

	_, err = b.p.Exec(ctx, "insert into t values ('x')")
	require.Error(t, err)
	assert.False(t, pool.OutcomeUnknown(err), "%v", err)
}
