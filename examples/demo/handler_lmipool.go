package main

import (
	"context"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lmipool/lmipool"
)

// serveLmipool uses lmipool without a Config, so MaxConns follows from the environment's concurrency.
func serveLmipool(ctx context.Context, connString string, hold time.Duration) error {
	db, err := lmipool.Open(ctx, connString, nil)
	if err != nil {
		return err
	}
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, _ struct{}) (reply, error) {
		return work(ctx, db, hold)
	}))
	return nil
}
