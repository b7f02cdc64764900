package main

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
	"github.com/lmipool/lmipool/stdlib"
)

// 50 jobs are done on two connections, which River shares with the rest of the program.
func TestJobsAreDone(t *testing.T) {
	db := testdb.Open(t, &lmipool.Config{MaxConns: 2},
		"create table orders (id bigint primary key, shipped bool not null default false)", "insert into orders select generate_series(1, 50)")
	migrator, err := rivermigrate.New(riverdatabasesql.New(stdlib.OpenDB(db)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	workers, err := Workers(db)
	if err != nil {
		t.Fatal(err)
	}
	done, cancel := workers.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed)
	defer cancel()
	if err := workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	jobs := make([]river.InsertManyParams, 50)
	for i := range jobs {
		jobs[i].Args = Ship{OrderID: int64(i + 1)}
	}
	if _, err := workers.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(time.Minute)
	for range jobs {
		select {
		case e := <-done:
			if e.Kind != river.EventKindJobCompleted {
				t.Errorf("a job failed: %+v", e.Job.Errors)
			}
		case <-timeout:
			t.Fatal("the jobs are not done after a minute")
		}
	}
	if err := workers.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	var left int
	if err := db.QueryRow(t.Context(), "select count(*) from orders where not shipped").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d orders are not shipped, %v", left, err)
	}
}
