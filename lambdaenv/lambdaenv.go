// Package lambdaenv detects which kind of Lambda execution environment, if any, a process runs in, and how many invocations it may be sent at once.
// It reads environment variables and nothing else.
package lambdaenv

import (
	"errors"
	"os"
)

// Env has what the environment variables say. A value from [Detect] is complete and usable even if Detect returned an error.
type Env struct {
	// Kind is what runs this process.
	Kind Kind

	// MaxConcurrency is how many invocations this process may be sent at the same time: AWS_LAMBDA_MAX_CONCURRENCY, or 1 if that variable is not set.
	// It is never less than 1. On managed instances the function's process has that variable, and the processes of extensions do not.
	MaxConcurrency int

	// MemoryMB is the memory of the environment in MB, AWS_LAMBDA_FUNCTION_MEMORY_SIZE, or 0 if it is not known.
	MemoryMB int

	// FunctionName, FunctionVersion and Region are empty if they are not known. Region is AWS_REGION, or AWS_DEFAULT_REGION if AWS_REGION is missing
	// or empty.
	FunctionName, FunctionVersion, Region string
}

// CanFreeze reports whether Lambda may stop this process between two invocations, for milliseconds or for hours: then timers fire late, and
// connections may be dead when the process goes on. Lambda does that on all kinds but managed instances.
func (e Env) CanFreeze() bool {
	switch e.Kind {
	case OnDemand, ProvisionedConcurrency, SnapStart:
		return true
	default:
		return false
	}
}

// Detect is [DetectFunc] with the variables of this process.
func Detect() (Env, error) { return DetectFunc(os.LookupEnv) }

// DetectFunc detects from environment variables what runs a process. lookup is [os.LookupEnv] or works like it.
//
// The Kind is found in this order:
//
//  1. Without AWS_LAMBDA_RUNTIME_API it is NotLambda, whatever else is set, since nothing will send invocations.
//  2. If AWS_LAMBDA_INITIALIZATION_TYPE is one of the four known words, it decides.
//  3. If AWS_LAMBDA_MAX_CONCURRENCY is set, to whatever value, it is ManagedInstances. A value of 1 is allowed there, too.
//  4. Otherwise it is OnDemand. AWS's local emulator sets no type in its classic mode.
//
// AWS_EXECUTION_ENV is not read, since Go functions from a zip file do not have it.
//
// The error joins a [*VariableError] for each variable whose value is not as AWS documents it, an unknown initialization type included. The Env is
// usable all the same: a wrong number counts as missing, and with an unknown type rules 3 and 4 decide.
func DetectFunc(lookup func(string) (string, bool)) (Env, error) {
	get := func(name string) string {
		value, _ := lookup(name)
		return value
	}
	concurrency, managed, err1 := number(lookup, "AWS_LAMBDA_MAX_CONCURRENCY")
	memory, _, err2 := number(lookup, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
	kind, known, err3 := initializationType(lookup)
	switch {
	case get("AWS_LAMBDA_RUNTIME_API") == "":
		kind = NotLambda
	case known:
	case managed:
		kind = ManagedInstances
	default:
		kind = OnDemand
	}
	region := get("AWS_REGION")
	if region == "" {
		region = get("AWS_DEFAULT_REGION")
	}
	return Env{
		Kind:            kind,
		MaxConcurrency:  max(concurrency, 1),
		MemoryMB:        memory,
		FunctionName:    get("AWS_LAMBDA_FUNCTION_NAME"),
		FunctionVersion: get("AWS_LAMBDA_FUNCTION_VERSION"),
		Region:          region,
	}, errors.Join(err1, err2, err3)
}
