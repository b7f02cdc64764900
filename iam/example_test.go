package iam_test

import (
	"context"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/iam"
)

// Of the program that has them:
//
//	cfg, err := config.LoadDefaultConfig(ctx) // github.com/aws/aws-sdk-go-v2/config
//	... cfg.Credentials
//
//	//go:embed global-bundle.pem
//	var rdsRoots []byte // https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
var (
	credentials aws.CredentialsProvider
	rdsRoots    []byte
)

func Example() {
	ctx := context.Background()
	db, err := lmipool.Open(ctx, "postgres://app@orders.cluster-abc.eu-west-1.rds.amazonaws.com/orders", &lmipool.Config{
		BeforeConnect: iam.New(credentials, nil).BeforeConnect, RootCAs: rdsRoots,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
}

// A pgxpool needs no lmipool for it.
func Example_pgxpool() {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig("postgres://app@orders.proxy-abc.eu-west-1.rds.amazonaws.com/orders?sslmode=verify-full")
	if err != nil {
		log.Fatal(err)
	}
	config.BeforeConnect = iam.New(credentials, nil).BeforeConnect
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
}
