package main

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
)

const dsn = "postgres://app@orders.cluster-abc.eu-west-1.rds.amazonaws.com/orders"

// There is no RDS here, so the test looks at what would be sent to it.
func TestTheTokenTakesThePasswordsPlace(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not a secret")
	tokens, err := Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.BeforeConnect(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	token, err := url.Parse("https://" + cfg.Password)
	if err != nil {
		t.Fatal(err)
	}
	q := token.Query()
	if token.Host != "orders.cluster-abc.eu-west-1.rds.amazonaws.com:5432" || q.Get("DBUser") != "app" || q.Get("X-Amz-Signature") == "" {
		t.Errorf("the token is for %s and user %s", token.Host, q.Get("DBUser"))
	}
	if cfg.TLSConfig == nil || cfg.TLSConfig.InsecureSkipVerify || len(cfg.Fallbacks) > 0 {
		t.Error("the token may be sent without a look at the server's certificate")
	}
	db, err := Open(t.Context(), dsn, nil) // dials nothing
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}
