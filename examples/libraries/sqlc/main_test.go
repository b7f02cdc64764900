package main

import (
	_ "embed"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/libraries/sqlc/store"
	"github.com/lmipool/lmipool/examples/testdb"
)

//go:embed schema.sql
var schema string

func TestRename(t *testing.T) {
	db := testdb.Open(t, nil, schema)
	user, err := store.New(db).CreateUser(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	handler := lmipool.Handler(db, Handler(db))
	want := store.User{ID: user.ID, Name: "eve"}
	for _, in := range []Rename{{ID: user.ID, Name: "eve"}, {ID: user.ID}} {
		if got, err := handler(t.Context(), in); err != nil || got != want {
			t.Errorf("%+v: got %+v, %v, want %+v", in, got, err, want)
		}
	}
	if _, err := handler(t.Context(), Rename{ID: -1, Name: "eve"}); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("a user who does not exist: got %v, want %v", err, pgx.ErrNoRows)
	}
}
