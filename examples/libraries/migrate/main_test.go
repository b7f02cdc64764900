package main

import (
	"testing"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
)

func TestMigrate(t *testing.T) {
	db := testdb.Open(t, &lmipool.Config{MaxConns: 2})
	for range 2 { // the second time nothing is missing
		if got, err := Migrate(db); err != nil || got != 2 {
			t.Fatalf("got %d, %v, want 2", got, err)
		}
	}
	if _, err := db.Exec(t.Context(), "insert into users values (1, 'ann', 'ann@example.com')"); err != nil {
		t.Error(err)
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still held", n)
	}
}
