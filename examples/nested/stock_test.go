package nested

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
	"github.com/lmipool/lmipool/lmitest"
)

func open(t *testing.T) *lmipool.Pool {
	return testdb.Open(t, &lmipool.Config{MaxConns: 1}, "create table stock (item text primary key, count int)", "insert into stock values ('book', 64)")
}

// With one connection the mistake shows at the first call: there is an error at once, with both places, and not a wait until the deadline.
func TestTheDeadlockIsNamed(t *testing.T) {
	db := open(t)
	_, err := lmipool.Handler(db, Wrong(db))(t.Context(), Order{Item: "book"})
	var nested *lmipool.NestedAcquireError
	if !errors.As(err, &nested) || !strings.Contains(err.Error(), "stock.go:19") || !strings.Contains(err.Error(), "stock.go:23") {
		t.Errorf("got %v", err)
	}
}

func TestRightTakesAnyNumberAtOnce(t *testing.T) {
	db := open(t)
	orders := make([]Order, 64)
	for i := range orders {
		orders[i].Item = "book"
	}
	for _, r := range lmitest.Call(t.Context(), lmitest.CallOptions{Timeout: time.Minute}, lmipool.Handler(db, Right(db)), orders) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
}
