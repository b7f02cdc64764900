package main

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
)

func TestTransfer(t *testing.T) {
	db := testdb.Open(t, nil)
	orm, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := orm.AutoMigrate(&Account{}); err != nil { // GORM's own migrations work too
		t.Fatal(err)
	}
	if err := orm.Create([]Account{{ID: 1, Balance: 10}, {ID: 2}}).Error; err != nil {
		t.Fatal(err)
	}
	handler := lmipool.Handler(db, Handler(orm))
	want := Account{ID: 1, Balance: 7}
	if got, err := handler(t.Context(), Transfer{From: 1, To: 2, Amount: 3}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := handler(t.Context(), Transfer{From: 1, To: 3, Amount: 3}); !errors.Is(err, gorm.ErrRecordNotFound) {
		t.Errorf("an account that does not exist: got %v", err)
	}
	var all []Account
	if err := orm.Order("id").Find(&all).Error; err != nil || len(all) != 2 || all[0] != want || all[1].Balance != 3 {
		t.Errorf("got %+v, %v: the second transfer must have left nothing", all, err)
	}
}
