package lambdaenv_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lambdaenv"
)

const (
	api         = "AWS_LAMBDA_RUNTIME_API"
	initType    = "AWS_LAMBDA_INITIALIZATION_TYPE"
	concurrency = "AWS_LAMBDA_MAX_CONCURRENCY"
	memory      = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
)

type vars map[string]string

func (v vars) lookup(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

func TestKind(t *testing.T) {
	t.Parallel()
	const here = "127.0.0.1:9001"
	for name, c := range map[string]struct {
		vars vars
		kind lambdaenv.Kind
		max  int
	}{
		"nothing":                          {vars{}, lambdaenv.NotLambda, 1},
		"classic emulator":                 {vars{api: here}, lambdaenv.OnDemand, 1},
		"on-demand":                        {vars{api: here, initType: "on-demand"}, lambdaenv.OnDemand, 1},
		"provisioned":                      {vars{api: here, initType: "provisioned-concurrency"}, lambdaenv.ProvisionedConcurrency, 1},
		"SnapStart":                        {vars{api: here, initType: "snap-start"}, lambdaenv.SnapStart, 1},
		"managed":                          {vars{api: here, initType: "lambda-managed-instances", concurrency: "64"}, lambdaenv.ManagedInstances, 64},
		"managed, one at a time":           {vars{api: here, initType: "lambda-managed-instances", concurrency: "1"}, lambdaenv.ManagedInstances, 1},
		"managed by its concurrency alone": {vars{api: here, concurrency: "1"}, lambdaenv.ManagedInstances, 1},
		"an extension on managed":          {vars{api: here, initType: "lambda-managed-instances"}, lambdaenv.ManagedInstances, 1},
		"the type wins":                    {vars{api: here, initType: "on-demand", concurrency: "8"}, lambdaenv.OnDemand, 8},
		"a type but no one to call":        {vars{initType: "lambda-managed-instances", concurrency: "8"}, lambdaenv.NotLambda, 8},
		"an empty API":                     {vars{api: "", initType: "on-demand"}, lambdaenv.NotLambda, 1},
		"only AWS_EXECUTION_ENV":           {vars{"AWS_EXECUTION_ENV": "AWS_Lambda_Image"}, lambdaenv.NotLambda, 1},
	} {
		env, err := lambdaenv.DetectFunc(c.vars.lookup)
		require.NoError(t, err, name)
		require.Equal(t, c.kind.String(), env.Kind.String(), name)
		require.Equal(t, c.max, env.MaxConcurrency, name)
	}
}

func TestAnUnknownTypeIsAnErrorAndAUsableEnv(t *testing.T) {
	t.Parallel()
	for _, unknown := range []string{"lambda-on-the-moon", "", "On-Demand", " snap-start", "not-lambda"} {
		for _, c := range []struct {
			vars vars
			kind lambdaenv.Kind
			max  int
		}{
			{vars{api: "x", initType: unknown, concurrency: "32"}, lambdaenv.ManagedInstances, 32},
			{vars{api: "x", initType: unknown}, lambdaenv.OnDemand, 1},
			{vars{initType: unknown}, lambdaenv.NotLambda, 1},
		} {
			env, err := lambdaenv.DetectFunc(c.vars.lookup)
			require.Equal(t, c.kind.String(), env.Kind.String(), "%q", unknown)
			require.Equal(t, c.max, env.MaxConcurrency)
			var fault *lambdaenv.VariableError
			require.ErrorAs(t, err, &fault)
			require.Equal(t, &lambdaenv.VariableError{
				Name: initType, Value: unknown,
				Want: "one of on-demand, provisioned-concurrency, snap-start, lambda-managed-instances",
			}, fault)
		}
	}
}

func TestABadNumberIsNamedAndCountsAsMissing(t *testing.T) {
	t.Parallel()
	for bad, quoted := range map[string]string{
		"abc": `"abc"`, "0": `"0"`, "-3": `"-3"`, "99999999999": `"99999999999"`, "1000001": `"1000001"`,
		" 64 ": `" 64 "`, "": `""`, "6.4": `"6.4"`, "64\n": `"64\n"`,
	} {
		env, err := lambdaenv.DetectFunc(vars{api: "x", initType: "lambda-managed-instances", concurrency: bad, memory: "2048"}.lookup)
		require.EqualError(t, err, "lambdaenv: AWS_LAMBDA_MAX_CONCURRENCY="+quoted+": want an integer from 1 to 1000000")
		require.Equal(t, lambdaenv.Env{Kind: lambdaenv.ManagedInstances, MaxConcurrency: 1, MemoryMB: 2048}, env)

		env, err = lambdaenv.DetectFunc(vars{api: "x", concurrency: "64", memory: bad}.lookup)
		require.EqualError(t, err, "lambdaenv: AWS_LAMBDA_FUNCTION_MEMORY_SIZE="+quoted+": want an integer from 1 to 1000000")
		require.Equal(t, lambdaenv.Env{Kind: lambdaenv.ManagedInstances, MaxConcurrency: 64}, env)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := lambdaenv.DetectFunc(vars{api: "x", initType: "new", concurrency: "many", memory: "much"}.lookup)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	found := make(map[string]string)
	for _, err := range joined.Unwrap() {
		var fault *lambdaenv.VariableError
		require.True(t, errors.As(err, &fault))
		found[fault.Name] = fault.Value
	}
	require.Equal(t, map[string]string{initType: "new", concurrency: "many", memory: "much"}, found)
}

func TestFunctionAndRegion(t *testing.T) {
	t.Parallel()
	v := vars{
		"AWS_LAMBDA_FUNCTION_NAME": "orders", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST.PUBLISHED",
		"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "us-east-1", memory: "4096",
	}
	want := lambdaenv.Env{
		MaxConcurrency: 1, MemoryMB: 4096, FunctionName: "orders", FunctionVersion: "$LATEST.PUBLISHED", Region: "eu-north-1",
	}
	env, err := lambdaenv.DetectFunc(v.lookup)
	require.NoError(t, err)
	require.Equal(t, want, env)

	delete(v, "AWS_REGION")
	want.Region = "us-east-1"
	env, err = lambdaenv.DetectFunc(v.lookup)
	require.NoError(t, err)
	require.Equal(t, want, env)
}

func TestOnlyWhatLambdaFreezesCanFreeze(t *testing.T) {
	t.Parallel()
	for kind, want := range map[lambdaenv.Kind]bool{
		lambdaenv.NotLambda: false, lambdaenv.OnDemand: true, lambdaenv.ProvisionedConcurrency: true,
		lambdaenv.SnapStart: true, lambdaenv.ManagedInstances: false,
	} {
		require.Equal(t, want, lambdaenv.Env{Kind: kind}.CanFreeze(), kind.String())
	}
}

func TestAnImpossibleKindHasAString(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Kind(-1)", lambdaenv.Kind(-1).String())
	require.Equal(t, "Kind(5)", lambdaenv.Kind(5).String())
}

// Not parallel: it sets environment variables.
func TestDetectReadsThisProcess(t *testing.T) {
	t.Setenv(api, "127.0.0.1:9001")
	t.Setenv(initType, "lambda-managed-instances")
	t.Setenv(concurrency, "17")
	env, err := lambdaenv.Detect()
	require.NoError(t, err)
	require.Equal(t, lambdaenv.ManagedInstances, env.Kind)
	require.Equal(t, 17, env.MaxConcurrency)
}
