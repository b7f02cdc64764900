// Package iam logs in to RDS and Aurora with the function's role instead of a
// password. A [Source] makes the tokens that take the password's place, and hands
// them to each dial as pgx's BeforeConnect:
//
//	aws, err := config.LoadDefaultConfig(ctx)
//	...
//	db, err := lmipool.Open(ctx, "postgres://app@orders.cluster-abc.eu-west-1.rds.amazonaws.com/orders", &lmipool.Config{
//		BeforeConnect: iam.New(aws.Credentials, nil).BeforeConnect, RootCAs: rdsRoots,
//	})
//
// or pgxpool.Config.BeforeConnect, without lmipool.
//
// A token is valid for 15 minutes, and only for logging in: established connections stay open. RDS limits how many new tokens per second are used to
// log in, so all dials to an endpoint share one token. Signing a token needs no request to AWS; fetching the credentials may. After 10 minutes, while
// the old token is still valid, a new one is signed in the background, so no dial waits for it. If the server refuses a token, a new one is signed at
// once, with newly fetched credentials if the provider is an [aws.CredentialsCache].
//
// The database role must have been granted rds_iam, the function's IAM policy must allow rds-db:connect, and the clock must not be wrong by more than
// 5 minutes.
//
// Only this package of lmipool links the AWS SDK. It does not link the SDK's package config.
package iam
