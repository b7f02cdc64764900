package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The demo starts itself again as the Lambda function. These variables tell the child which system to serve.
const (
	envSystem   = "DEMO_SYSTEM"
	envDatabase = "DEMO_DATABASE_URL"
	envHold     = "DEMO_HOLD"
)

// reply is the handler's answer: what the database's clock said before and after the hold.
type reply struct {
	Before time.Time `json:"before"`
	After  time.Time `json:"after"`
}

// querier has the methods that the handler needs of a connection or a pool.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// work does what the handler of the original experiment does: ask, hold, ask again.
func work(ctx context.Context, db querier, hold time.Duration) (r reply, err error) {
	if err := db.QueryRow(ctx, "select now()").Scan(&r.Before); err != nil {
		return r, fmt.Errorf("first query: %w", err)
	}
	if !sleep(ctx, hold) {
		return r, context.Cause(ctx)
	}
	if err := db.QueryRow(ctx, "select now()").Scan(&r.After); err != nil {
		return r, fmt.Errorf("second query: %w", err)
	}
	return r, nil
}

// serve runs the child. It returns only if the child cannot start.
func serve(name string) error {
	hold, err := time.ParseDuration(os.Getenv(envHold))
	if err != nil {
		return fmt.Errorf("%s: %w", envHold, err)
	}
	for _, s := range systems() {
		if s.name == name {
			return s.serve(context.Background(), os.Getenv(envDatabase), hold)
		}
	}
	return fmt.Errorf("%s=%q: no such system", envSystem, name)
}

// serveGlobalConn makes one connection in the init phase and never closes it, as functions of concurrency 1 do with a global variable.
func serveGlobalConn(ctx context.Context, connString string, hold time.Duration) error {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return err
	}
	lambda.Start(func(ctx context.Context) (reply, error) { return work(ctx, conn, hold) })
	return nil
}

// serveConnPerInvocation opens a connection in each invocation and closes it. With PgBouncer it is the handler of the original experiment.
func serveConnPerInvocation(_ context.Context, connString string, hold time.Duration) error {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return err
	}
	lambda.Start(func(ctx context.Context) (reply, error) {
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return reply{}, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		return work(ctx, conn, hold)
	})
	return nil
}

// servePgxpool uses pgxpool with a connection for each invocation that may run at once.
func servePgxpool(ctx context.Context, connString string, hold time.Duration) error {
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return err
	}
	config.MaxConns = int32(lambdacontext.MaxConcurrency())
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	lambda.Start(func(ctx context.Context) (reply, error) { return work(ctx, db, hold) })
	return nil
}
