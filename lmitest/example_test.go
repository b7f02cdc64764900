package lmitest_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lmipool/lmipool/lmitest"
)

// greet is the handler, runGreeter its main function. TestMain of this package calls it when the test binary
// is started as "greeter"; the package documentation shows the few lines.
func greet(_ context.Context, name string) (string, error) { return "hello " + name, nil }

func runGreeter() { lambda.Start(greet) }

func ExampleStart() {
	ctx := context.Background()
	f, err := lmitest.Start(ctx, lmitest.Config{
		Command:     []string{os.Args[0], "greeter"},
		Concurrency: 64,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Shutdown(ctx)

	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			if _, err := f.Invoke(ctx, []byte(`"Ada"`)); err != nil {
				log.Print(err)
			}
		})
	}
	callers.Wait()
	reply, err := f.Invoke(ctx, []byte(`"Grace"`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, invocations: %d, process exits: %d\n", reply.Payload, f.Stats().Invocations, f.Stats().Exits)
	// Output: "hello Grace", invocations: 65, process exits: 0
}

func ExampleCall() {
	results := lmitest.Call(context.Background(), lmitest.CallOptions{Concurrency: 64}, greet, []string{"Ada", "Grace"})
	for _, r := range results {
		fmt.Println(r.Out, r.Err, r.Late)
	}
	// Output:
	// hello Ada <nil> false
	// hello Grace <nil> false
}
