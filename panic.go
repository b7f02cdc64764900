package lmipool

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// panicReply returns the error that Lambda shows for a panic with the value v. Type, message and stack are as aws-lambda-go makes them, but the error
// does not end the process. The deferred function that recovered v must call panicReply, which counts stack frames. If v is an InvokeResponse_Error,
// it is the user's own reply, and is returned unchanged.
func panicReply(v any) messages.InvokeResponse_Error {
	if r, ok := v.(messages.InvokeResponse_Error); ok {
		return r
	}
	return messages.InvokeResponse_Error{
		Message:    cut(fmt.Sprint(v)),
		Type:       errorType(v),
		StackTrace: panicStack(),
	}
}

// mostText is the number of bytes after which the text of an error or panic is cut. A reply of more than 6 MB ends the process. It has at most six
// bytes in JSON for each byte of the text, and 256 KB is also the longest line in CloudWatch's logs.
const mostText = 256 << 10

func cut(text string) string {
	if len(text) <= mostText {
		return text
	}
	return strings.ToValidUTF8(text[:mostText], "") + "…"
}

// sendable returns err, or an error with its text cut if the text is too long for a reply. If err's method Error panics, so does sendable: in
// aws-lambda-go that panic would end the process.
func sendable(err error) error {
	text := err.Error()
	if len(text) <= mostText {
		return err
	}
	return messages.InvokeResponse_Error{Message: cut(text), Type: errorType(err)}
}

// errorType returns aws-lambda-go's name for the type of an error or panic.
func errorType(v any) string {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// panicStack returns the stack from runtime.gopanic on, at most 32 frames, as aws-lambda-go does.
func panicStack() []*messages.InvokeResponse_Error_StackFrame {
	pcs := make([]uintptr, 32)
	pcs = pcs[:runtime.Callers(4, pcs)] // skips Callers, panicStack, panicReply and the deferred function
	var stack []*messages.InvokeResponse_Error_StackFrame
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		stack = append(stack, stackFrame(f))
		if !more {
			return stack
		}
	}
}

// stackFrame shortens a frame as aws-lambda-go does: it cuts the path in front of the package's first element, and the package from the function's
// name.
func stackFrame(f runtime.Frame) *messages.InvokeResponse_Error_StackFrame {
	path := f.File
	at := len(path)
	for range strings.Count(f.Function, "/") + 2 {
		if at = strings.LastIndex(path[:at], "/"); at < 0 {
			break
		}
	}
	label := f.Function[strings.LastIndex(f.Function, "/")+1:]
	label = label[strings.Index(label, ".")+1:]
	return &messages.InvokeResponse_Error_StackFrame{Path: path[at+1:], Line: int32(f.Line), Label: label}
}

// requestID returns the invocation's request id, or "" outside Lambda, as in a test.
func requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}
