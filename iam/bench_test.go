package iam_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/iam"
)

// BenchmarkBeforeConnect is what a dial pays for a token that is there.
func BenchmarkBeforeConnect(b *testing.B) {
	source := iam.New(roleWith(key("1")), nil)
	config, err := pgx.ParseConfig("sslmode=verify-full user=app host=" + writer)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		c := *config
		if err := source.BeforeConnect(b.Context(), &c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSigning is what one dial in ten minutes has done beside it.
func BenchmarkSigning(b *testing.B) {
	for b.Loop() {
		if _, err := iam.New(roleWith(key("1")), nil).Token(b.Context(), writer, 5432, "app"); err != nil {
			b.Fatal(err)
		}
	}
}
