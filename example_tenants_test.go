package lmipool_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
)

// tenantOrders is a database in which each tenant sees his own orders only, and a
// pool that logs in as a role to which that applies.
func tenantOrders() (db *lmipool.Pool, end func()) {
	ctx, e := context.Background(), &pgtest.Example{}
	dsn := pgtest.Database(e)
	super, err := pgx.Connect(ctx, dsn)
	do := func(sql string) {
		if err == nil {
			_, err = super.Exec(ctx, sql)
		}
	}
	role := "app_" + strings.ToLower(rand.Text())
	do(`create table orders (tenant text default current_setting('app.tenant'), item text)`)
	do(`alter table orders enable row level security`)
	do(`create policy by_tenant on orders using (tenant = current_setting('app.tenant'))`)
	do("create role " + role + " login; grant all on orders to " + role)
	u, _ := url.Parse(dsn)
	u.User = url.User(role)
	if err == nil {
		db, err = lmipool.OpenIn(ctx, managed("4"), u.String(), &lmipool.Config{Logger: (&logged{}).logger()})
	}
	if err != nil {
		panic(err)
	}
	return db, func() {
		db.Close()
		do("drop owned by " + role + "; drop role " + role)
		_ = super.Close(ctx)
		e.End()
	}
}

type tenantKey struct{}

// Who calls is in the ctx, where a middleware has put it. One function makes of it the
// DB of that tenant, and no handler touches the pool itself.
//
//	create policy by_tenant on orders using (tenant = current_setting('app.tenant'))
func ExampleDB_tenants() {
	db, end := tenantOrders() // lmipool.Open
	defer end()
	tenantDB := func(ctx context.Context) lmipool.DB {
		tenant, _ := ctx.Value(tenantKey{}).(string) // "" sees nothing
		return db.With(map[string]string{"app.tenant": tenant})
	}
	handler := lmipool.Handler(db, func(ctx context.Context, o Order) (items []string, err error) {
		own := tenantDB(ctx)
		if _, err := own.Exec(ctx, "insert into orders (item) values ($1)", o.Item); err != nil {
			return nil, err
		}
		rows, err := own.Query(ctx, "select item from orders order by item")
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[string])
	})
	for _, tenant := range []string{"blue", "red"} {
		fmt.Println(handler(context.WithValue(context.Background(), tenantKey{}, tenant), Order{Item: "of " + tenant}))
	}
	// Output:
	// [of blue] <nil>
	// [of red] <nil>
}
