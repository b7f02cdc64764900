package lmitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
)

// These are the types of errors that come from the platform and not from the handler.
const (
	// TypeTimedOut means that the handler had not answered at its deadline.
	TypeTimedOut = "Sandbox.Timedout"
	// TypeExit means that the process ended with the invocation in flight.
	TypeExit = "Runtime.ExitError"
	// TypeInit means that the process could not be started.
	TypeInit = "Runtime.InitError"
	// TypeShutDown means that the environment was shut down with the invocation in flight.
	TypeShutDown = "Client.ExecutionEnvironmentShutDown"
	// TypeUnknown means that the runtime dropped its poll just when it got the invocation.
	TypeUnknown = "Runtime.Unknown"
	// TypeTruncated means that the runtime did not send its whole reply, and still runs.
	TypeTruncated = "Runtime.TruncatedResponse"
	// TypeTooLarge means that the reply was larger than Lambda allows.
	TypeTooLarge = "Function.ResponseSizeTooLarge"
)

const contentTypeJSON = "application/json"

// Reply is what the caller of a function gets.
type Reply struct {
	// RequestID is the invocation's id, which the handler sees as lambdacontext's AwsRequestID.
	RequestID string
	// Payload is the handler's reply. If Error is set, Payload is the error's JSON, as Lambda's own callers see it. If a streamed reply failed,
	// Payload is what was sent before the error.
	Payload []byte
	// Error is set if the handler failed, or if the platform replied for it (see the Type constants).
	Error *FunctionError
	// ContentType is the handler's content type; it is application/json for a value that was encoded.
	ContentType string
	// Streamed reports a reply that was not one buffered JSON value: the runtime asked for streaming, or
	// sent a body of unknown length and another content type, as aws-lambda-go does for an io.Reader.
	Streamed bool
	// Environment is the number of the environment that answered, from 0. A replacement keeps the number.
	Environment int
	// Duration is the time from handing the event to the runtime until the answer was complete.
	Duration time.Duration
	// InitDuration is the time from the process's start to its first poll if this was the first invocation
	// of its environment, else 0.
	InitDuration time.Duration
}

// FunctionError is a failed invocation.
type FunctionError struct {
	// Type is the error's type: for a handler's error the Go type's name, else one of the Type constants.
	Type string
	// Message is the error's text.
	Message string
	// StackTrace is present for a handler that panicked.
	StackTrace []*messages.InvokeResponse_Error_StackFrame
	// Raw is the error as it was sent.
	Raw json.RawMessage
}

// Error makes a FunctionError usable as an error.
func (e *FunctionError) Error() string {
	return e.Type + ": " + e.Message
}

// errorBody is the JSON of an error, as runtimes send it and callers get it.
type errorBody struct {
	Message    string                                      `json:"errorMessage"`
	Type       string                                      `json:"errorType"`
	StackTrace []*messages.InvokeResponse_Error_StackFrame `json:"stackTrace,omitempty"`
}

// functionError parses the error that a runtime sent. headerType is the type in the request's header, which is used if the body has none.
func functionError(raw []byte, headerType string) *FunctionError {
	var b errorBody
	if err := json.Unmarshal(raw, &b); err != nil {
		b = errorBody{Message: string(raw)}
	}
	if b.Type == "" {
		b.Type = headerType
	}
	return &FunctionError{Type: b.Type, Message: b.Message, StackTrace: b.StackTrace, Raw: raw}
}

// platformReply returns a reply that Lambda itself gives, with the JSON that Lambda's callers get.
func platformReply(requestID, errorType, format string, args ...any) *Reply {
	message := fmt.Sprintf("RequestId: %s Error: %s", requestID, fmt.Sprintf(format, args...))
	raw, err := json.Marshal(errorBody{Message: message, Type: errorType})
	if err != nil { // cannot happen, since errorBody has only strings
		raw = []byte(`{}`)
	}
	return &Reply{
		RequestID:   requestID,
		Payload:     raw,
		ContentType: contentTypeJSON,
		Error:       &FunctionError{Type: errorType, Message: message, Raw: raw},
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", contentTypeJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails if the client is gone
}

func accept(w http.ResponseWriter) {
	writeJSON(w, http.StatusAccepted, map[string]string{"status": "OK"})
}
