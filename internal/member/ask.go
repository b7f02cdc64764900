package member

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/fleet"
)

// timeout is how long the server may work on a poll. The poll's connection has no user meanwhile.
const timeout = 500 * time.Millisecond

// errPooled says that another process has answered than the one that was named at login: there is a pooler, and its connections are not the pool's.
var errPooled = errors.New("there is a pooler between this pool and PostgreSQL")

// ask counts the fleet on pc. What it sets ends with its transaction. It asks as the login role, since a role that AfterConnect has set may not see what
// the login role sees, and without the user's search_path, in which an operator may be another one.
func ask(ctx context.Context, pc *pgconn.PgConn, id fleet.ID) (c fleet.Count, err error) {
	pl := pc.StartPipeline(ctx)
	pl.SendQueryParams("select pg_catalog.pg_backend_pid(), pg_catalog.set_config('statement_timeout', '"+strconv.Itoa(int(timeout.Milliseconds()))+"', true),"+
		" pg_catalog.set_config('role', 'none', true), pg_catalog.set_config('search_path', 'pg_catalog', true)", nil, nil, nil, nil)
	pl.SendQueryParams(fleet.SQL, [][]byte{[]byte(id)}, nil, nil, nil)
	err = pl.Sync()
	var row [2][][]byte
	for i := range row {
		if err == nil {
			row[i], err = next(pl)
		}
	}
	if err = cmp.Or(err, pl.Close()); err != nil {
		return c, err
	}
	if string(row[0][0]) != strconv.Itoa(int(pc.PID())) {
		return c, errPooled
	}
	for i, to := range c.Row() {
		n, err := strconv.ParseInt(string(row[1][i]), 10, 32)
		if err != nil {
			return c, err
		}
		*to.(*int32) = int32(n)
	}
	return c, nil
}

// next returns the row of pl's next result.
func next(pl *pgconn.Pipeline) ([][]byte, error) {
	v, err := pl.GetResults()
	if r, ok := v.(*pgconn.ResultReader); ok {
		is := r.Read()
		if is.Err == nil && len(is.Rows) == 1 {
			return is.Rows[0], nil
		}
		err = is.Err
	}
	return nil, cmp.Or(err, errors.New("no answer to a poll"))
}

// refuses reports whether err says that the server does not answer polls at all: it lacks what they ask for, or does not allow it.
func refuses(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code[:2] == "42" || e.Code[:2] == "0A")
}
