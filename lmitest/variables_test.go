package lmitest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

func variables(t *testing.T, c lmitest.Config) map[string]string {
	f := start(t, "handler", c)
	v := map[string]string{}
	for _, kv := range ask(t, f, event{}).Env {
		name, value, _ := strings.Cut(kv, "=")
		v[name] = value
	}
	return v
}

func TestTheHandlerSeesLambdasVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := variables(t, lmitest.Config{
		Concurrency: 7, MemoryMB: 4096, FunctionName: "greet", Region: "eu-north-1", Dir: dir,
		Env: []string{"DATABASE_URL=postgres://…", "TZ=Europe/Oslo", "AWS_LAMBDA_LOG_FORMAT=JSON"},
	})
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, v["AWS_LAMBDA_RUNTIME_API"])
	require.Regexp(t, `^\d{4}/\d\d/\d\d/\[\$LATEST\.PUBLISHED\][0-9a-f]{32}$`, v["AWS_LAMBDA_LOG_STREAM_NAME"])
	delete(v, "AWS_LAMBDA_RUNTIME_API")
	delete(v, "AWS_LAMBDA_LOG_STREAM_NAME")
	require.Equal(t, map[string]string{
		"DATABASE_URL":          "postgres://…",
		"TZ":                    "Europe/Oslo",
		"LANG":                  "en_US.UTF-8",
		"PATH":                  os.Getenv("PATH"),
		"HOME":                  os.Getenv("HOME"),
		"AWS_REGION":            "eu-north-1",
		"AWS_DEFAULT_REGION":    "eu-north-1",
		"AWS_ACCESS_KEY_ID":     "lmitest",
		"AWS_SECRET_ACCESS_KEY": "lmitest",
		"AWS_SESSION_TOKEN":     "lmitest",

		"AWS_LAMBDA_INITIALIZATION_TYPE":  "lambda-managed-instances",
		"AWS_LAMBDA_MAX_CONCURRENCY":      "7",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "4096",
		"AWS_LAMBDA_FUNCTION_NAME":        "greet",
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST.PUBLISHED",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/greet",
		"AWS_LAMBDA_LOG_FORMAT":           "JSON",

		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
		"AWS_XRAY_DAEMON_ADDRESS":  "127.0.0.1:2000",
		"_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
		"_AWS_XRAY_DAEMON_PORT":    "2000",
		"_HANDLER":                 "bootstrap",
		"LAMBDA_TASK_ROOT":         dir,
		"LAMBDA_RUNTIME_DIR":       "/var/runtime",
	}, v)
}

func TestReservedVariablesCannotBeSet(t *testing.T) {
	t.Parallel()
	v := variables(t, lmitest.Config{Concurrency: 2, Env: []string{
		"AWS_LAMBDA_MAX_CONCURRENCY=99", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_RUNTIME_API=127.0.0.1:1", "_HANDLER=mine", "_MINE=1", "_X_AMZN_TRACE_ID=1",
		"AWS_EXECUTION_ENV=mine", "AWS_REGION=mars-1",
	}})
	require.Equal(t, "2", v["AWS_LAMBDA_MAX_CONCURRENCY"])
	require.Equal(t, "lambda-managed-instances", v["AWS_LAMBDA_INITIALIZATION_TYPE"])
	require.Equal(t, "bootstrap", v["_HANDLER"])
	require.Equal(t, "us-east-1", v["AWS_REGION"])
	for _, name := range []string{"_MINE", "_X_AMZN_TRACE_ID", "AWS_EXECUTION_ENV"} {
		require.NotContains(t, v, name)
	}
}

func TestCredentialsMayBeGiven(t *testing.T) {
	t.Parallel()
	v := variables(t, lmitest.Config{Concurrency: 2, Env: []string{"AWS_PROFILE=dev"}})
	require.Equal(t, "dev", v["AWS_PROFILE"])
	require.NotContains(t, v, "AWS_ACCESS_KEY_ID")
}

func TestOnDemandHasNoMaxConcurrency(t *testing.T) {
	t.Parallel()
	v := variables(t, lmitest.Config{Kind: lambdaenv.ProvisionedConcurrency})
	require.NotContains(t, v, "AWS_LAMBDA_MAX_CONCURRENCY")
	require.Equal(t, "provisioned-concurrency", v["AWS_LAMBDA_INITIALIZATION_TYPE"])
	require.Equal(t, "128", v["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
	require.Equal(t, "$LATEST", v["AWS_LAMBDA_FUNCTION_VERSION"])
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	self := []string{os.Args[0]}
	for want, c := range map[string]lmitest.Config{
		"Config.Command is empty":                              {},
		`Config.Command: exec: "no-such": executable file not`: {Command: []string{"no-such"}},
		"Config.Concurrency is 1601: want 1 to 1600":           {Command: self, Concurrency: 1601},
		"Config.Concurrency is 2: want 1 with Kind on-demand":  {Command: self, Concurrency: 2, Kind: lambdaenv.OnDemand},
		"Config.Kind is Kind(9): want one of lambdaenv's":      {Command: self, Kind: 9},
		"Config.Environments is -1: want 1 or more":            {Command: self, Environments: -1},
		"Config.Timeout is -1ns: want 1ms or more":             {Command: self, Timeout: -1},
		"Config.InitTimeout is 1ns: want 1ms or more":          {Command: self, InitTimeout: 1},
		"Config.MemoryMB is -1: want 1 or more":                {Command: self, MemoryMB: -1},
	} {
		_, err := lmitest.Start(t.Context(), c)
		require.ErrorContains(t, err, want)
	}
}
