package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
	"github.com/lmipool/lmipool/lmitest"
)

// open opens lmipool's pool on tables of this test's own.
func open(t *testing.T) *lmipool.Pool {
	t.Helper()
	return testdb.Open(t, nil,
		"create table stock (item text primary key, count int not null)",
		"create table done (message_id text primary key)",
		"insert into stock values ('book', 1000), ('lamp', 1)",
	)
}

func batch(name string, bodies ...string) (e events.SQSEvent) {
	for i, body := range bodies {
		e.Records = append(e.Records, events.SQSMessage{MessageId: fmt.Sprint(name, "-", i), Body: body})
	}
	return e
}

func failures(r events.SQSEventResponse) (ids []string) {
	for _, f := range r.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids
}

func stock(t *testing.T, db *lmipool.Pool, item string) (count int) {
	t.Helper()
	if err := db.QueryRow(context.Background(), "select count from stock where item = $1", item).Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

func TestOnlyTheRecordsThatFailedComeAgain(t *testing.T) {
	t.Parallel()
	db := open(t)
	handler := lmipool.Handler(db, Orders(db))
	e := batch("m",
		`{"Item":"book","Count":1}`,
		`not JSON`,
		`{"Item":"book","Count":2}`,
		`{"Item":"unicorn","Count":1}`,
		`{"Item":"lamp","Count":2}`,
		`{"Item":"book","Count":3}`,
	)
	for range 2 { // twice, since SQS sometimes delivers a record twice
		r, err := handler(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := failures(r), []string{"m-1", "m-3", "m-4"}; !slices.Equal(got, want) {
			t.Errorf("failures: got %v, want %v", got, want)
		}
		if got := stock(t, db, "book"); got != 994 {
			t.Errorf("books: got %d, want 994", got)
		}
		if got := stock(t, db, "lamp"); got != 1 {
			t.Errorf("lamps: got %d, want 1: its transaction was rolled back", got)
		}
	}
}

func TestAllIsWellGivesAnEmptyList(t *testing.T) {
	t.Parallel()
	db := open(t)
	r, err := Orders(db)(t.Context(), batch("m", `{"Item":"book","Count":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(r); err != nil || string(got) != `{"batchItemFailures":null}` && string(got) != `{"batchItemFailures":[]}` {
		t.Errorf("got %s, %v", got, err) // to Lambda both null and [] mean that all records succeeded
	}
}

func TestManyBatchesAtOnceShareThePool(t *testing.T) {
	t.Parallel()
	db := open(t)
	var in []events.SQSEvent
	for i := range 16 {
		in = append(in, batch(fmt.Sprint("b", i), slices.Repeat([]string{`{"Item":"book","Count":1}`}, 10)...))
	}
	for _, r := range lmitest.Call(t.Context(), lmitest.CallOptions{Timeout: 20 * time.Second}, lmipool.Handler(db, Orders(db)), in) {
		if r.Err != nil || len(r.Out.BatchItemFailures) > 0 {
			t.Errorf("%v: %v", r.Err, failures(r.Out))
		}
	}
	if got := stock(t, db, "book"); got != 1000-160 {
		t.Errorf("books: got %d, want 840", got)
	}
}

// When the time is up, the records that are done stay done, and SQS delivers the others again.
func TestARecordThatWaitsAtTheDeadlineFailsAlone(t *testing.T) {
	t.Parallel()
	db := open(t)
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), "select from stock where item = 'lamp' for update"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r, err := lmipool.Handler(db, Orders(db))(ctx, batch("m", `{"Item":"book","Count":1}`, `{"Item":"lamp","Count":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := failures(r), []string{"m-1"}; !slices.Equal(got, want) {
		t.Errorf("failures: got %v, want %v", got, want)
	}
	if got := stock(t, db, "book"); got != 999 {
		t.Errorf("books: got %d, want 999", got)
	}
}
