package pool

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// writer says whether what the pool connects to is to be a writer. A pool is told so, by
// target_session_attrs or by the name of an Aurora writer, or learns it: once something was
// written through it, a standby in the same place is the same place no more. A pool that
// only reads takes what it gets.
type writer struct {
	never  bool // it was told otherwise, or something in between knows better
	wanted atomic.Bool
}

// errStandby is why a session is not taken, or kept.
var errStandby = errors.New("the server is a standby, and this pool writes")

// newWriter is what the connection string says.
func newWriter(cc *pgx.ConnConfig, up Upstream) (never, wanted bool) {
	is := func(f func(context.Context, *pgconn.PgConn) error) bool { // pgx keeps no more of the word
		return cc.ValidateConnect != nil && reflect.ValueOf(cc.ValidateConnect).Pointer() == reflect.ValueOf(f).Pointer()
	}
	switch {
	case is(pgconn.ValidateConnectTargetSessionAttrsReadOnly), is(pgconn.ValidateConnectTargetSessionAttrsStandby),
		is(pgconn.ValidateConnectTargetSessionAttrsPreferStandby), up == UpstreamRDSProxy: // that fails over by itself
		return true, false
	case is(pgconn.ValidateConnectTargetSessionAttrsReadWrite), is(pgconn.ValidateConnectTargetSessionAttrsPrimary):
		return false, true
	}
	for _, h := range sslmode.Hosts(&cc.Config) {
		if a, ok := awshost.Parse(h.Host); ok {
			never = never || a.Kind == awshost.Reader || a.Kind == awshost.Custom
			wanted = wanted || a.Kind == awshost.Writer || a.Kind == awshost.Global
		}
	}
	return never, wanted && !never
}

// wrote learns from what a command has done that the server was no standby.
func (w *writer) wrote(tag pgconn.CommandTag) {
	if w.never || w.wanted.Load() {
		return
	}
	word, of, _ := strings.Cut(tag.String(), " ")
	if of == "SYSTEM" { // ALTER SYSTEM, which writes a file of the server's own, a standby's as well
		return
	}
	switch word {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE":
		w.wanted.Store(true)
	}
}

// copied is wrote for a CopyFrom, whose tag pgx keeps.
func (w *writer) copied(err error) {
	if err == nil && !w.never {
		w.wanted.Store(true)
	}
}

// validating has pgx go on to the next host, or address, when it has found a standby and
// a writer is wanted. In front of PostgreSQL the server has just said so, for nothing;
// a pooler may repeat what was so once, hence the question.
func (p *Pool) validating(next pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, pc *pgconn.PgConn) error {
		if p.writer.wanted.Load() && pc.ParameterStatus("in_hot_standby") == "on" {
			if standby, err := inRecovery(ctx, pc); err != nil {
				return err
			} else if standby {
				return errStandby
			}
		}
		if next == nil {
			return nil
		}
		return next(ctx, pc)
	}
}

// inRecovery asks the server behind pc whether it is a standby. Not by a simple Query, in
// front of which settings cannot travel.
func inRecovery(ctx context.Context, pc *pgconn.PgConn) (bool, error) {
	r := pc.ExecParams(ctx, "select pg_catalog.pg_is_in_recovery()", nil, nil, nil, nil).Read()
	if r.Err != nil {
		return false, r.Err
	}
	return len(r.Rows) == 1 && string(r.Rows[0][0]) == "t", nil
}
