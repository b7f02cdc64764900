package lmipool_test

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/lmipool/lmipool"
)

// What Handler adds to a handler, on a managed instance with everything on. `make bench`
// compares them:
//
//	go test . -run '^$' -bench Handler -count 6
func BenchmarkHandler(b *testing.B) {
	bare := func(ctx context.Context, in int) (int, error) { return in + 1, nil }
	db, err := lmipool.OpenIn(context.Background(), managed("64"), dsn, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for name, h := range map[string]func(context.Context, int) (int, error){"bare": bare, "lmipool": lmipool.Handler(db, bare)} {
		b.Run("handler="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				// As aws-lambda-go makes it, for both.
				ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(3*time.Second))
				ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: "8f3a"})
				if _, err := h(ctx, 1); err != nil {
					b.Fatal(err)
				}
				cancel()
			}
		})
	}
}
