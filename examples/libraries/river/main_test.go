package main

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
	"github.com/lmipool/lmipool/lmitest"
	"github.com/lmipool/lmipool/stdlib"
)

func TestAnOrderHasItsJob(t *testing.T) {
	check := lmitest.Check(t) // InsertTx leaves nothing in the session
	db := testdb.Open(t, &lmipool.Config{Observers: []any{check}}, "create table orders (id bigint generated always as identity primary key, item text not null check (item <> ''))")
	// River's migrations cannot all run in one transaction, so the migrator needs a database. Here that is lmipool's *sql.DB.
	migrator, err := rivermigrate.New(riverdatabasesql.New(stdlib.OpenDB(db)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	jobs, err := Inserter()
	if err != nil {
		t.Fatal(err)
	}
	handler := lmipool.Handler(db, Handler(db, jobs))
	var want []int64
	for range 3 { // at first lmipool does not know yet what the statements leave
		id, err := handler(t.Context(), Order{Item: "book"})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	if _, err := handler(t.Context(), Order{}); err == nil {
		t.Error("an order without an item: want an error")
	}
	var queued []int64
	rows, _ := db.Query(context.Background(), "select (args->>'order_id')::bigint from river_job where kind = 'ship' order by id")
	if queued, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil || !slices.Equal(queued, want) {
		t.Errorf("jobs: got %v, %v, want %v", queued, err, want)
	}
}
