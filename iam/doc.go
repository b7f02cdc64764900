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
// A token is good for 15 minutes, and only for logging in; established connections
// live on. RDS limits logins with new tokens per second, not those with the same one,
// so all dials to an endpoint share one: it is signed in memory, without a request to
// AWS but what the credentials need, and signed anew after 10 minutes while the old one
// is still good, so no dial waits for it. One that the server refuses is signed anew
// at once, with credentials that are fetched anew if the provider is an
// [aws.CredentialsCache].
//
// Besides, the role must have been granted rds_iam, the function's IAM policy must
// allow rds-db:connect, and the clock must be right within 5 minutes.
//
// This is the only package of lmipool that links the AWS SDK, and it does not link the
// SDK's config.
package iam
