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

// telling is one whose error quotes it.
type telling struct{ Number string }

func (t telling) Value() (driver.Value, error) { return nil, errors.New("no card " + t.Number) }

// number is of a type that %#v does not tell.
type number int64

// pgx shows an argument that it cannot encode.
func TestAnArgumentIsNotInTheErrorOfEncodingIt(t *testing.T) {
	t.Parallel()
	p := newPool(t, nil)
	ctx := bounded(t)
	exec := func(args ...any) error {
		sql := "select $1::int"
		switch args[0].(type) {
		case pgx.NamedArgs, pgx.StrictNamedArgs:
			sql = "select @x::int"
		}
		_, err := p.Exec(ctx, sql, args...)
		return err
	}
	const into = " into binary format for int4 (OID 23): "
	copyOf := func(v any) error {
		l, err := p.Acquire(ctx)
		require.NoError(t, err)
		defer l.Release()
		_, err = l.Exec(ctx, "create temp table copied (id int)")
		require.NoError(t, err)
		_, err = l.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id"}, pgx.CopyFromRows([][]any{{v}}))
		return err
	}
	for want, err := range map[string]error{
		"failed to encode args[0]: unable to encode a value of type struct { V string }" + into + "cannot find encode plan":                                    exec(struct{ V string }{"hunter2"}),
		"failed to encode args[0]: unable to encode a value of type int64" + into + "… is greater than maximum value for int4":                                 exec(int64(9_4111_1111_1)),
		"failed to encode args[0]: unable to encode a value of type pool_test.number" + into + "… is greater than maximum value for int4":                      exec(number(9_4111_1111_1)),
		"failed to encode args[0]: unable to encode a value of type pool_test.card" + into + "it has expired":                                                  exec(card{"14111"}),
		"failed to encode args[0]: unable to encode a value of type pool_test.telling" + into + "no card …":                                                    exec(telling{"14111"}),
		"failed to encode args[0]: unable to encode a value of type []string" + into + "cannot find encode plan":                                               exec([]string{"14111"}),
		"failed to encode args[0]: unable to encode a value of type map[string]int" + into + "cannot find encode plan":                                         exec(pgx.NamedArgs{"x": map[string]int{"14111": 1}}),
		"failed to encode args[0]: unable to encode a value of type map[int]string" + into + "cannot find encode plan":                                         exec(pgx.StrictNamedArgs{"x": map[int]string{14111: ""}}),
		"error preprocessing batch (build): failed to encode args[0]: unable to encode a value of type struct { V string }" + into + "cannot find encode plan": batchOf(ctx, p, "select $1::int", struct{ V string }{"hunter2"}),
		"ERROR: COPY from stdin failed: unable to encode a value of type int64" + into + "… is greater than maximum value for int4 (SQLSTATE 57014)":           copyOf(int64(9_4111_1111_1)),
	} {
		assert.EqualError(t, err, want, want)
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
	assert.Regexp(t, `^lmipool\.Lease\(held \S+ by request 8f3a, doing "select \$1::text", acquired at \S+string_test\.go:\d+ \S+\)$`, fmt.Sprintf("%+v", l))
	assert.Equal(t, "lmipool.Pool(max 3, total 1, acquired 1, idle 0)", fmt.Sprintf("%#v", p))
	assert.Equal(t, "lmipool.Bound(app.tenant)", fmt.Sprint(p.With(map[string]string{"app.tenant": "hunter2"})))
	assert.Equal(t, "lmipool.Scope(8f3a)", fmt.Sprint(scope))
	assert.Equal(t, "lmipool.Bound() lmipool.Scope(none)", fmt.Sprintf("%v %v", &pool.Bound{}, (*pool.Scope)(nil)))
}
