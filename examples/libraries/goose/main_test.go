package main

import (
	"testing"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
)

func TestMigrate(t *testing.T) {
	db := testdb.Open(t, &lmipool.Config{MaxConns: 2})
	for _, want := range []int{2, 0} { // the second time nothing is missing
		if got, err := Migrate(t.Context(), db); err != nil || got != want {
			t.Fatalf("got %d, %v, want %d", got, err, want)
		}
	}
	if _, err := db.Exec(t.Context(), "insert into users values (1, 'ann')"); err != nil {
		t.Error(err)
	}
}
