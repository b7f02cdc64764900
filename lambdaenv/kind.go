package lambdaenv

import "strconv"

// Kind is what runs a process. The zero value is NotLambda.
type Kind int

// These are the kinds of execution environments. Only ManagedInstances may be sent several invocations at once.
const (
	NotLambda              Kind = iota // a server, a laptop, a test
	OnDemand                           // started when an invocation finds no free environment
	ProvisionedConcurrency             // started ahead of time
	SnapStart                          // restored from a snapshot
	ManagedInstances                   // a container on an EC2 instance that Lambda manages; never frozen
)

var words = [...]string{
	NotLambda:              "not-lambda",
	OnDemand:               "on-demand",
	ProvisionedConcurrency: "provisioned-concurrency",
	SnapStart:              "snap-start",
	ManagedInstances:       "lambda-managed-instances",
}

// String returns AWS's own word, as in AWS_LAMBDA_INITIALIZATION_TYPE, or "not-lambda".
func (k Kind) String() string {
	if k < 0 || int(k) >= len(words) {
		return "Kind(" + strconv.Itoa(int(k)) + ")"
	}
	return words[k]
}
