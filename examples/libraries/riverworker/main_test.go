package main

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
)

// 50 jobs are done on few connections, which River shares with the rest of the program, and a job is done as soon as River is notified of it.
func TestJobsAreDone(t *testing.T) {
	db := testdb.Open(t, &lmipool.Config{MaxConns: 6},
		"create table orders (id bigint primary key, shipped bool not null default false)", "insert into orders select generate_series(1, 51)")
	companion, err := db.Companion(2)
	if err != nil {
		t.Fatal(err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(companion), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	workers, err := Workers(db, companion)
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
	wait := func(jobs int) {
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
	}
	wait(len(jobs))
	var listening int
	const listens = "select count(*) from pg_stat_activity where query ilike 'listen %' and application_name = current_setting('application_name')"
	if err := db.QueryRow(t.Context(), listens).Scan(&listening); err != nil || listening != 1 {
		t.Errorf("%d connections listen, %v", listening, err)
	}
	if _, err := workers.Insert(t.Context(), Ship{OrderID: 51}, nil); err != nil {
		t.Fatal(err)
	}
	wait(1)
	if err := workers.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	var left int
	if err := db.QueryRow(t.Context(), "select count(*) from orders where not shipped").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d orders are not shipped, %v", left, err)
	}
}
