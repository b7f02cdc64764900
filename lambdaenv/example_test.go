package lambdaenv_test

import (
	"fmt"

	"github.com/lmipool/lmipool/lambdaenv"
)

func Example() {
	env, err := lambdaenv.Detect()
	if err != nil {
		fmt.Println(err) // worth a line in the log; env is usable all the same
	}
	if env.Kind == lambdaenv.ManagedInstances {
		fmt.Println("up to", env.MaxConcurrency, "invocations share this process")
	}
	// Output:
}

func ExampleDetectFunc() {
	variables := map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          "169.254.100.1:9001",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "lambda-managed-instances",
		"AWS_LAMBDA_MAX_CONCURRENCY":      "64",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "4 GB",
	}
	env, err := lambdaenv.DetectFunc(func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
	fmt.Println(env.Kind, env.MaxConcurrency, env.CanFreeze())
	fmt.Println(err)
	// Output:
	// lambda-managed-instances 64 false
	// lambdaenv: AWS_LAMBDA_FUNCTION_MEMORY_SIZE="4 GB": want an integer from 1 to 1000000
}
