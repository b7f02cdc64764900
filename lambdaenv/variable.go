package lambdaenv

import (
	"fmt"
	"strconv"
	"strings"
)

// VariableError reports an environment variable whose value is not as AWS documents it.
type VariableError struct {
	Name  string // the variable's name
	Value string // its value
	Want  string // which values would be right, in words
}

func (e *VariableError) Error() string {
	return fmt.Sprintf("lambdaenv: %s=%q: want %s", e.Name, e.Value, e.Want)
}

// limit is the largest number that a variable may have. AWS's own limits are far lower (a concurrency of 1,600, 32,768 MB) and may rise. A larger
// number is a mistake, and a pool of that size would be expensive.
const limit = 1_000_000

// number returns the number in a variable, or 0 if the variable has no valid number, and whether the variable is set.
func number(lookup func(string) (string, bool), name string) (n int, set bool, err error) {
	value, set := lookup(name)
	if !set {
		return 0, false, nil
	}
	// aws-lambda-go does not trim spaces either, so both read the same number.
	if n, err = strconv.Atoi(value); err == nil && n >= 1 && n <= limit {
		return n, true, nil
	}
	return 0, true, &VariableError{name, value, fmt.Sprintf("an integer from 1 to %d", limit)}
}

// initializationType returns the kind that AWS_LAMBDA_INITIALIZATION_TYPE names, if it names one that is known.
func initializationType(lookup func(string) (string, bool)) (kind Kind, known bool, err error) {
	const name = "AWS_LAMBDA_INITIALIZATION_TYPE"
	value, set := lookup(name)
	if !set {
		return NotLambda, false, nil
	}
	for kind := OnDemand; kind <= ManagedInstances; kind++ {
		if value == kind.String() {
			return kind, true, nil
		}
	}
	return NotLambda, false, &VariableError{name, value, "one of " + strings.Join(words[OnDemand:], ", ")}
}
