// Package lmitest runs a Lambda handler under the rules of AWS Lambda Managed Instances, on one's own machine:
// many invocations at once in one process, deadlines that nobody enforces, late replies that are refused, and
// environments that go away with requests in flight.
//
// [Start] runs the handler's binary, unchanged, as a child process beside an emulation of the Runtime API.
// It is a child because aws-lambda-go reads its environment when the process starts. A test needs no build
// step if the test binary starts itself:
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
// [Call] is the light form: it calls a handler function in the test's own process, for the race detector.
// The command lmirun, beside this package, runs any handler's binary.
//
// # The rules
//
// They are those of AWS's own Runtime Interface Emulator in its mode for managed instances, and of
// aws-lambda-go 1.54. On managed instances:
//
//   - An environment runs as many invocations at once as it has polls for work, Config.Concurrency at most.
//     What finds none is throttled at once ([ErrThrottled]), never queued. Only a poll that is expected in a
//     moment, because the runtime has just answered, is waited for.
//   - At the deadline the caller gets an error ([TypeTimedOut]). The handler runs on, and keeps its place.
//     When it answers after all, it gets 410 Gone, which aws-lambda-go takes as fatal: the process lets the
//     others finish, takes no new work and exits.
//   - A handler's panic is answered with an error; then the process ends in the same way. A panic anywhere
//     else, or os.Exit, ends it at once, and all that is in flight is answered with [TypeExit].
//   - A process that ended is replaced. While no environment is up, requests are throttled.
//   - A shutdown answers what is in flight ([TypeShutDown]), then sends SIGTERM, but only if an extension is
//     registered (lambda.WithEnableSIGTERM), and SIGKILL 600 ms later.
//
// On the other kinds an environment runs one invocation at a time, starts when a request finds none idle (up
// to Config.Environments, beyond is throttled), and is killed when one times out.
//
// # What is not there
//
// Limits of CPU, memory and files; a freeze between invocations; snapshots; external extensions and events
// for internal ones; tracing; Lambda's directories (LAMBDA_TASK_ROOT is the working directory). Where AWS's
// emulator hands work to a process that is about to exit, which fails it with Runtime.Unknown, this one
// throttles. What Lambda itself does there is not documented.
package lmitest
