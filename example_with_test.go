package lmipool_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

// Row policies such as
//
//	create policy own on orders using (tenant = current_setting('app.tenant'))
//
// see the tenant that the pool is bound to, and nobody else does.
func ExamplePool_With() {
	ctx := context.Background()
	db, err := lmipool.Open(ctx, "", nil)
	if err != nil {
		panic(err)
	}
	type request struct{ Tenant, Item string }
	handler := lmipool.Handler(db, func(ctx context.Context, r request) (n int, err error) {
		own := db.With(map[string]string{"app.tenant": r.Tenant})
		if err = own.QueryRow(ctx, "select count(*) from orders").Scan(&n); err != nil {
			return 0, err
		}
		return n + 1, pgx.BeginFunc(ctx, own, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into orders (tenant, item) values (current_setting('app.tenant'), $1)", r.Item)
			return err
		})
	})
	_ = handler // lambda.Start(handler)
}
