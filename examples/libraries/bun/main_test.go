package main

import (
	"slices"
	"testing"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
)

func TestNotes(t *testing.T) {
	db := testdb.Open(t, nil)
	x := Open(db)
	if _, err := x.NewCreateTable().Model((*Note)(nil)).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	handler := lmipool.Handler(db, Handler(x))
	if _, err := handler(t.Context(), "milk"); err != nil {
		t.Fatal(err)
	}
	want := []Note{{1, "milk"}, {2, "it's bread"}}
	if got, err := handler(t.Context(), "it's bread"); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
