// Package lmitest runs a Lambda handler under the rules of AWS Lambda Managed Instances, on your own machine: one process has many invocations at
// once, nothing stops a handler at its deadline, late replies are refused, and environments end with requests in flight.
//
// [Start] runs the handler's binary, unchanged, as a child process beside an emulation of the Runtime API. The handler is a child because
// aws-lambda-go reads its environment when the process starts. A test needs no build step if the test binary starts itself:
//
//	func TestMain(m *testing.M) {
//		if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
//			lambda.Start(handler) // we are the child
//		}
//		os.Exit(m.Run())
//	}
//
//	func TestSixtyFourAtOnce(t *testing.T) {
//		f, err := lmitest.Start(t.Context(), lmitest.Config{Command: []string{os.Args[0]}})
//		...
//		defer f.Shutdown(context.Background())
//		reply, err := f.Invoke(t.Context(), []byte(`{"name":"Ada"}`))
//	}
//
// [Call] is simpler: it calls a handler function in the test's own process, for the race detector. The command lmirun, beside this package, runs any
// handler's binary.
//
// # The rules
//
// The rules are those of AWS's own Runtime Interface Emulator in its mode for managed instances, and of aws-lambda-go 1.54. On managed instances:
//
//   - An environment runs as many invocations at once as it has polls for work, Config.Concurrency at most. An invocation that finds no poll is
//     throttled at once ([ErrThrottled]) and never queued. There is one exception: if a runtime has just answered, an invocation waits up to 1 s for
//     that runtime's next poll.
//   - At the deadline the caller gets an error ([TypeTimedOut]). The handler runs on, and still counts in Config.Concurrency. When the handler
//     answers, it gets 410 Gone, which is fatal for aws-lambda-go: the process polls no more, finishes its other invocations and exits.
//   - If a handler panics, its caller gets an error; then the process ends in the same way. A panic anywhere else, or os.Exit, ends it at once, and
//     every invocation in flight is answered with [TypeExit].
//   - A process that ended is replaced. While no environment is up, requests are throttled.
//   - A shutdown answers the invocations in flight with [TypeShutDown], then sends SIGTERM, but only if an extension is registered
//     (lambda.WithEnableSIGTERM), and SIGKILL 600 ms later.
//
// On the other kinds an environment runs one invocation at a time, starts when a request finds none idle (with Config.Environments of them the
// request is throttled), and is killed when its invocation times out.
//
// # What is missing
//
// lmitest has no limits of CPU, memory and files, no freeze between invocations, no snapshots, no external extensions, no events for internal ones,
// no tracing, and none of Lambda's directories (LAMBDA_TASK_ROOT is the working directory). AWS's emulator hands invocations to a process that is
// about to exit, and they fail with Runtime.Unknown; lmitest throttles them. AWS does not document what Lambda itself does then.
package lmitest
