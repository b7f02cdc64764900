package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
	"github.com/lmipool/lmipool/lmitest"
)

func request(tenant string) (r events.APIGatewayV2HTTPRequest) {
	if tenant != "" {
		r.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{
			JWT: &events.APIGatewayV2HTTPRequestContextAuthorizerJWTDescription{Claims: map[string]string{"tenant": tenant}},
		}
	}
	return r
}

// open makes a table with a policy, and opens a pool of two connections whose role the policy applies to.
func open(t *testing.T) *lmipool.Pool {
	role := "app_" + strings.ToLower(rand.Text())
	owner := testdb.Open(t, nil,
		"create table orders (tenant text, item text)",
		"insert into orders select t, 'of ' || t from unnest(array['blue', 'red', 'green']) t",
		"alter table orders enable row level security",
		"create policy by_tenant on orders using (tenant = current_setting('app.tenant'))",
		"create role "+role+" login password 'app'",
		"grant select on orders to "+role,
	)
	var schema string
	if err := owner.QueryRow(t.Context(), "select current_schema()").Scan(&schema); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(t.Context(), "grant usage on schema "+schema+" to "+role); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.User, cfg.ConnConfig.Password = role, "app"
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	db, err := lmipool.OpenConfig(t.Context(), cfg, &lmipool.Config{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Close()
		for _, sql := range []string{"drop owned by " + role, "drop role " + role} {
			if _, err := owner.Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
	})
	return db
}

// 64 requests of three tenants at once share two connections, and each gets its own tenant's rows.
func TestTenantsAreApart(t *testing.T) {
	db := open(t)
	tenants := []string{"blue", "red", "green"}
	var requests []events.APIGatewayV2HTTPRequest
	for i := range 64 {
		requests = append(requests, request(tenants[i%len(tenants)]))
	}
	for i, r := range lmitest.Call(t.Context(), lmitest.CallOptions{Timeout: time.Minute}, lmipool.Handler(db, Handler(ForTenant(db))), requests) {
		if want := fmt.Sprintf(`["of %s"]`, tenants[i%len(tenants)]); r.Err != nil || r.Out.Body != want {
			t.Errorf("got %s, %v, want %s", r.Out.Body, r.Err, want)
		}
	}
	if r, err := Handler(ForTenant(db))(t.Context(), request("")); err != nil || r.StatusCode != http.StatusForbidden {
		t.Errorf("a request without a tenant: got %d, %v", r.StatusCode, err)
	}
	if items, err := orders(t.Context(), ForTenant(db)); err != nil || len(items) != 0 { // without a tenant in ctx
		t.Errorf("code that lost the tenant: got %v, %v, want no rows", items, err)
	}
}
