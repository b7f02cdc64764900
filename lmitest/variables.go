package lmitest

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// reserved has the variables that Lambda sets itself; a value in Config.Env is dropped without an error. The list is the one in AWS's Runtime
// Interface Emulator, without the names that a function may override, and without the credentials: on Lambda those come from a role, and here only
// the caller can give them.
var reserved = map[string]bool{
	"AWS_DEFAULT_REGION":              true,
	"AWS_EXECUTION_ENV":               true,
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": true,
	"AWS_LAMBDA_FUNCTION_NAME":        true,
	"AWS_LAMBDA_FUNCTION_VERSION":     true,
	"AWS_LAMBDA_INITIALIZATION_TYPE":  true,
	"AWS_LAMBDA_LOG_GROUP_NAME":       true,
	"AWS_LAMBDA_LOG_STREAM_NAME":      true,
	"AWS_LAMBDA_MAX_CONCURRENCY":      true,
	"AWS_LAMBDA_RUNTIME_API":          true,
	"AWS_REGION":                      true,
	"AWS_XRAY_DAEMON_PORT":            true,
	"AWS_XRAY_TRACE_ID":               true,
	"LAMBDA_RUNTIME_DIR":              true,
	"LAMBDA_TASK_ROOT":                true,
}

// variables returns the environment of one handler process, sorted. LD_LIBRARY_PATH stays unset, PATH and HOME are the caller's and LAMBDA_TASK_ROOT
// is the working directory, because the directories that Lambda names do not exist here. _X_AMZN_TRACE_ID is never set, since concurrent invocations
// have different trace ids.
func (c *Config) variables(runtimeAPI, logStream string) []string {
	v := map[string]string{
		"PATH": os.Getenv("PATH"),
		"HOME": os.Getenv("HOME"),
		"LANG": "en_US.UTF-8",
		"TZ":   ":UTC",

		"AWS_DEFAULT_REGION":              c.Region,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(c.MemoryMB),
		"AWS_LAMBDA_FUNCTION_NAME":        c.FunctionName,
		"AWS_LAMBDA_FUNCTION_VERSION":     c.FunctionVersion,
		"AWS_LAMBDA_INITIALIZATION_TYPE":  c.Kind.String(),
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + c.FunctionName,
		"AWS_LAMBDA_LOG_STREAM_NAME":      logStream,
		"AWS_LAMBDA_RUNTIME_API":          runtimeAPI,
		"AWS_REGION":                      c.Region,
		"AWS_XRAY_CONTEXT_MISSING":        "LOG_ERROR",
		"AWS_XRAY_DAEMON_ADDRESS":         "127.0.0.1:2000",
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LAMBDA_TASK_ROOT":                c.Dir,
		"_AWS_XRAY_DAEMON_ADDRESS":        "127.0.0.1",
		"_AWS_XRAY_DAEMON_PORT":           "2000",
		"_HANDLER":                        "bootstrap",
	}
	if c.managed() {
		v["AWS_LAMBDA_MAX_CONCURRENCY"] = strconv.Itoa(c.Concurrency)
	}
	ownCredentials := false
	for _, kv := range c.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || strings.HasPrefix(name, "_") || reserved[name] {
			continue
		}
		v[name] = value
		ownCredentials = ownCredentials || name == "AWS_ACCESS_KEY_ID" || name == "AWS_PROFILE"
	}
	if !ownCredentials {
		v["AWS_ACCESS_KEY_ID"] = "lmitest"
		v["AWS_SECRET_ACCESS_KEY"] = "lmitest"
		v["AWS_SESSION_TOKEN"] = "lmitest"
	}

	env := make([]string, 0, len(v))
	for name, value := range v {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
