package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/aws/aws-lambda-go/events"
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

type order struct {
	Item  string
	Count int
}

// Orders returns the handler. lmipool ends the handler's ctx a margin before the deadline, and the handler returns soon after that. So records that
// still wait for the database fail then, and there is time left to report the others as done.
func Orders(db lmipool.DB) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return func(ctx context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
		errs := make([]error, len(e.Records))
		var wg sync.WaitGroup
		for i, m := range e.Records {
			// There is one goroutine for each record; the pool's queue limits how many use the database at once.
			wg.Go(func() { errs[i] = place(ctx, db, m) })
		}
		wg.Wait()
		var r events.SQSEventResponse
		for i, err := range errs {
			if err != nil {
				id := e.Records[i].MessageId
				slog.Warn("an order failed", "message_id", id, "error", err)
				r.BatchItemFailures = append(r.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: id})
			}
		}
		return r, nil
	}
}

// place works on one record. SQS may deliver a record twice, and it delivers a batch that overran again as a whole. So the transaction that does the
// work also notes that the record is done.
func place(ctx context.Context, db lmipool.DB, m events.SQSMessage) (err error) {
	// lmipool catches the handler's panics. It cannot catch panics of goroutines that the handler starts: such a panic ends the process with all
	// invocations in flight.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	var o order
	if err := json.Unmarshal([]byte(m.Body), &o); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "insert into done (message_id) values ($1) on conflict do nothing", m.MessageId)
		if err != nil || tag.RowsAffected() == 0 { // it was delivered before
			return err
		}
		var left int
		if err := tx.QueryRow(ctx, "update stock set count = count - $2 where item = $1 returning count", o.Item, o.Count).Scan(&left); err != nil {
			return err // pgx.ErrNoRows if there is no such item
		}
		if left < 0 {
			return fmt.Errorf("%s is sold out", o.Item)
		}
		return nil
	})
}
