// Command gorm is a function that uses GORM on lmipool's connections.
package main

import (
	"context"
	"log"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/stdlib"
)

// Account is a row.
type Account struct {
	ID      int64
	Balance int64
}

// Transfer is the event.
type Transfer struct{ From, To, Amount int64 }

// Open returns GORM on db. SkipDefaultTransaction matters here: without it GORM puts each single write into a transaction, which takes two more
// round trips and holds a connection all that time.
func Open(db *lmipool.Pool) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: stdlib.OpenDB(db)}), &gorm.Config{SkipDefaultTransaction: true})
}

// Handler returns the handler. WithContext matters: the ctx has the invocation's deadline and scope, so what the handler forgets is taken back.
func Handler(orm *gorm.DB) func(context.Context, Transfer) (Account, error) {
	return func(ctx context.Context, in Transfer) (from Account, err error) {
		err = orm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			for _, part := range []Account{{in.From, -in.Amount}, {in.To, in.Amount}} {
				r := tx.Model(&Account{}).Where("id = ?", part.ID).Update("balance", gorm.Expr("balance + ?", part.Balance))
				if r.Error != nil {
					return r.Error
				}
				if r.RowsAffected == 0 {
					return gorm.ErrRecordNotFound
				}
			}
			return tx.Take(&from, in.From).Error
		})
		return from, err
	}
}

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	orm, err := Open(db)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(orm))
}
