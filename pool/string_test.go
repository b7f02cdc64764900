package pool_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

var errNoCard = errors.New("it has expired")

// card is an argument that does not want to be one.
type card struct{ Number string }

func (card) Value() (driver.Value, error) { return nil, errNoCard }

// pgx shows an argument that it cannot encode.
func TestAnArgumentIsNotInTheErrorOfEncodingIt(t *testing.T) {
	t.Parallel()
	p := newPool(t, nil)
	ctx := bounded(t)
	exec := func(args ...any) error { _, err := p.Exec(ctx, "select $1::int", args...); return err }
	for want, err := range map[string]error{
		"failed to encode args[0]: unable to encode the value into binary format for int4 (OID 23): cannot find encode plan":                                    exec(struct{ V string }{"hunter2"}),
		"failed to encode args[0]: unable to encode the value into binary format for int4 (OID 23)":                                                             exec(int64(9_4111_1111_1)),
		"failed to encode args[0]: unable to encode the value into binary format for int4 (OID 23): it has expired":                                             exec(card{"14111"}),
		"error preprocessing batch (build): failed to encode args[0]: unable to encode the value into binary format for int4 (OID 23): cannot find encode plan": batchOf(ctx, p, "select $1::int", struct{ V string }{"hunter2"}),
	} {
		assert.EqualError(t, err, want)
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "14111")
		assert.Equal(t, giveUp, next(t, err))
	}
	require.ErrorIs(t, exec(card{"14111"}), errNoCard, "what a Valuer says is still found")
}

func batchOf(ctx context.Context, p *pool.Pool, sql string, args ...any) error {
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	return p.SendBatch(ctx, b).Close()
}

func TestAPoolAndWhatItLendsAreLinesInALog(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 3})
	ctx, scope := p.OpenScope(bounded(t), "8f3a", time.Time{})
	defer scope.End()
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer l.Release()
	_, err = l.Exec(ctx, "select $1::text", "hunter2")
	require.NoError(t, err)
	assert.Regexp(t, `^lmipool\.Lease\(held \S+ by request 8f3a, doing "select \$1::text", acquired at \S+ \(\S+string_test\.go:\d+\)\)$`, fmt.Sprintf("%+v", l))
	assert.Equal(t, "lmipool.Pool(max 3, total 1, acquired 1, idle 0)", fmt.Sprintf("%#v", p))
	assert.Equal(t, "lmipool.Bound(app.tenant)", fmt.Sprint(p.With(map[string]string{"app.tenant": "hunter2"})))
	assert.Equal(t, "lmipool.Scope(8f3a)", fmt.Sprint(scope))
	assert.Equal(t, "lmipool.Bound() lmipool.Scope(none)", fmt.Sprintf("%v %v", &pool.Bound{}, (*pool.Scope)(nil)))
}
