// Package copyin does what pgx's CopyFrom does, but for three things.
//
// pgx reads the source, and encodes what it returns, in a goroutine of its own that does not recover. So a panic of a driver.Valuer, or of any other
// method that encoding a value calls, ends the process and with it every invocation. Here it is the error of the copy.
//
// And the columns are described each time, which costs a round trip. pgx keeps their types by table and columns: under another search_path, or after
// a column got another type of the same size, it would write what is no longer meant, without an error.
//
// And whoever calls it is free when his ctx ends. pgx goes on asking the source until a message is full, or for ever if it
// hangs. Here the COPY is broken off, and the source's call that runs is the last one; it is waited for as the server is, since most
// are short. A method of a value that is being encoded may hang as well, but goes on beside the connection's types: who has the connection is told.
package copyin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Copy is one CopyFrom.
type Copy struct {
	Table   pgx.Identifier
	Columns []string
	From    pgx.CopyFromSource
	In      Preparer                                // what describes the columns: the connection, or a transaction on it, which knows whether it has ended
	Tracer  pgx.CopyFromTracer                      // nil: none
	Catch   func(what string, f func() error) error // runs f, whose panic is its error
	Wait    time.Duration                           // how long the source's call that runs when ctx ends may take
}

// Preparer is a connection or a transaction.
type Preparer interface {
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

// Insert is an INSERT that leaves behind what COPY into these columns does: it runs the same defaults, checks and triggers.
func Insert(table pgx.Identifier, columns []string) string {
	nulls := strings.TrimSuffix(strings.Repeat("null, ", len(columns)), ", ")
	return fmt.Sprintf("insert into %s (%s) select %s", table.Sanitize(), quoteAll(columns), nulls)
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = pgx.Identifier{name}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}

// Run copies on c, and returns how many rows it were. encoding is nil, or closed when a value that was being encoded when ctx ended lets go:
// until then it uses c's types.
func (y *Copy) Run(ctx context.Context, c *pgx.Conn) (_ int64, encoding <-chan struct{}, err error) {
	var tag pgconn.CommandTag
	if t := y.Tracer; t != nil {
		ctx = t.TraceCopyFromStart(ctx, c, pgx.TraceCopyFromStartData{TableName: y.Table, ColumnNames: y.Columns})
		defer func() { t.TraceCopyFromEnd(ctx, c, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err}) }()
	}
	names, into := quoteAll(y.Columns), y.Table.Sanitize()
	d, err := y.In.Prepare(ctx, "", fmt.Sprintf("select %s from %s", names, into))
	if err != nil {
		return 0, nil, fmt.Errorf("statement description failed: %w", err)
	}
	r, w := io.Pipe()
	s := &source{src: y.From, w: w, types: c.TypeMap(), fields: d.Fields}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := pgerr.Say[pgerr.CallbackExitError]("lmipool: CopyFromSource has ended its goroutine")
		defer func() { w.CloseWithError(err) }()
		err = y.Catch("CopyFromSource", s.send)
	}()
	inValue, stopped := false, make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(stopped)
		w.CloseWithError(ctx.Err()) // pgx waits for what it reads, whatever its ctx
		inValue = s.stop()
	})
	tag, err = c.PgConn().CopyFrom(ctx, r, fmt.Sprintf("copy %s ( %s ) from stdin binary;", into, names))
	if pg := (*pgconn.PgError)(nil); ctx.Err() != nil && errors.As(err, &pg) && pg.Code == "57014" { // by a cancel request, or because the data ended so
		err = pgerr.Canceled(ctx.Err(), err)
	}
	r.Close()
	inLast := s.stop()
	select {
	case <-done:
		unwatch()
	case <-ctx.Done():
		if <-stopped; !isDone(done, y.Wait) && (inValue || inLast) {
			encoding = done
		}
	}
	return tag.RowsAffected(), encoding, err
}

// isDone waits for done, but no longer than bound.
func isDone(done <-chan struct{}, bound time.Duration) bool {
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
