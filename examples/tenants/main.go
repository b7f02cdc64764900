// Command tenants is a function behind API Gateway (HTTP API, payload version 2.0). Each tenant sees only its own rows, by row-level security:
//
//	alter table orders enable row level security;
//	create policy by_tenant on orders using (tenant = current_setting('app.tenant'));
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"

	"github.com/aws/aws-lambda-go/events"
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

type tenantKey struct{}

// ForTenant returns a function that makes the DB of a request from its ctx. All code below the handler calls that function, so none of it can forget
// the tenant. The settings travel with each statement and cost no round trip.
func ForTenant(db *lmipool.Pool) func(context.Context) lmipool.DB {
	return func(ctx context.Context) lmipool.DB {
		tenant, _ := ctx.Value(tenantKey{}).(string) // a request without a tenant has "", which sees no row
		return db.With(map[string]string{"app.tenant": tenant})
	}
}

// Handler returns the handler. The tenant is a claim of the token that API Gateway's authorizer has checked. Never take it from a header, a path or a
// body, since the caller writes those.
func Handler(dbOf func(context.Context) lmipool.DB) func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		if r.RequestContext.Authorizer == nil || r.RequestContext.Authorizer.JWT == nil || r.RequestContext.Authorizer.JWT.Claims["tenant"] == "" {
			return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusForbidden}, nil
		}
		ctx = context.WithValue(ctx, tenantKey{}, r.RequestContext.Authorizer.JWT.Claims["tenant"])
		items, err := orders(ctx, dbOf)
		if err != nil {
			return events.APIGatewayV2HTTPResponse{}, err
		}
		body, err := json.Marshal(items)
		return events.APIGatewayV2HTTPResponse{StatusCode: http.StatusOK, Body: string(body)}, err
	}
}

// orders has no condition on the tenant: the policy is the condition.
func orders(ctx context.Context, dbOf func(context.Context) lmipool.DB) ([]string, error) {
	rows, err := dbOf(ctx).Query(ctx, "select item from orders order by item")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func main() {
	// The role must be neither the table's owner nor a superuser: policies do not apply to those.
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(ForTenant(db)))
}
