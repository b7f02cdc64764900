// Command iam is a function that logs in to RDS or Aurora with its role instead of a password. The database user needs the role rds_iam
// (grant rds_iam to app), and the function's policy must allow rds-db:connect.
package main

import (
	"context"
	"log"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/iam"
)

// Tokens returns the source of the tokens, which are signed with the function's credentials. All dials share a token for 10 minutes, because RDS limits
// how many new ones it takes.
func Tokens(ctx context.Context) (*iam.Source, error) {
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	return iam.New(aws.Credentials, nil), nil
}

// Open opens the pool. rootCAs is the bundle of certificates that AWS publishes for RDS. A token is a password, so it is sent only to a server whose
// certificate is right.
func Open(ctx context.Context, dsn string, rootCAs []byte) (*lmipool.Pool, error) {
	tokens, err := Tokens(ctx)
	if err != nil {
		return nil, err
	}
	return lmipool.Open(ctx, dsn, &lmipool.Config{BeforeConnect: tokens.BeforeConnect, RootCAs: rootCAs})
}

// Handler returns the handler, which returns the name of the database's user.
func Handler(db lmipool.DB) func(context.Context, any) (string, error) {
	return func(ctx context.Context, _ any) (user string, err error) {
		err = db.QueryRow(ctx, "select session_user").Scan(&user)
		return user, err
	}
}

func main() {
	ctx := context.Background()
	rootCAs, err := os.ReadFile("global-bundle.pem") // a file in the function's package
	if err != nil {
		log.Fatal(err)
	}
	db, err := Open(ctx, "", rootCAs) // DATABASE_URL=postgres://app@orders.cluster-abc.eu-west-1.rds.amazonaws.com/orders
	if err != nil {
		log.Fatal(err)
	}

	lmipool.Start(db, Handler(db))
}
