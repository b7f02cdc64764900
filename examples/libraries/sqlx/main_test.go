package main

import (
	"slices"
	"testing"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
)

func TestStock(t *testing.T) {
	db := testdb.Open(t, nil, "create table stock (name text primary key, count int not null)")
	x := Open(db)
	given := []Item{{"book", 3}, {"lamp", 1}}
	if _, err := x.NamedExecContext(t.Context(), "insert into stock (name, count) values (:name, :count)", given); err != nil {
		t.Fatal(err)
	}
	got, err := lmipool.Handler(db, Handler(x))(t.Context(), []string{"lamp", "book", "chair"})
	if err != nil || !slices.Equal(got, given) {
		t.Errorf("got %v, %v, want %v", got, err, given)
	}
}
