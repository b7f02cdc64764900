package lmitest

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// These are the headers and limits of the Runtime API, as in aws-lambda-go and AWS's Runtime Interface Emulator:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
const (
	headerRequestID    = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline     = "Lambda-Runtime-Deadline-Ms"
	headerARN          = "Lambda-Runtime-Invoked-Function-Arn"
	headerTraceID      = "Lambda-Runtime-Trace-Id"
	headerResponseMode = "Lambda-Runtime-Function-Response-Mode"
	headerErrorType    = "Lambda-Runtime-Function-Error-Type" // sent as a header, or as a trailer of a stream
	trailerErrorBody   = "Lambda-Runtime-Function-Error-Body"

	maxBufferedReply = 6<<20 + 100 // bytes, Lambda's limit
	maxStreamedReply = 200 << 20   // bytes, Lambda's limit
)

func (e *environment) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", e.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", e.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", e.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", e.initError)
	mux.HandleFunc("POST /2020-01-01/extension/register", e.register)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", e.nextEvent)
	return mux
}

// next handles the poll of an idle runtime. It answers with an invocation, or returns when the environment has ended.
func (e *environment) next(w http.ResponseWriter, r *http.Request) {
	p := e.f.poll(e)
	if p == nil {
		refuseTooMany.render(w)
		return
	}
	select {
	case inv := <-p.invocation:
		e.send(w, inv)
	case <-r.Context().Done():
		e.f.unpoll(e, p)
	case <-e.over:
	}
}

// send writes an invocation as the answer to a poll.
func (e *environment) send(w http.ResponseWriter, inv *invocation) {
	c := &e.f.config
	h := w.Header()
	h.Set(headerRequestID, inv.id)
	h.Set(headerDeadline, strconv.FormatInt(inv.handedOver.Add(c.Timeout).UnixMilli(), 10))
	h.Set(headerARN, functionARN(c.Region, c.FunctionName))
	h.Set(headerTraceID, traceID(inv.handedOver))
	h.Set("Content-Type", contentTypeJSON)
	h.Set("Content-Length", strconv.Itoa(len(inv.payload)))
	if _, err := w.Write(inv.payload); err != nil {
		e.f.finish(inv, dropped(inv))
	}
}

// response handles a handler's answer.
func (e *environment) response(w http.ResponseWriter, r *http.Request) { e.take(w, r, false) }

// failure handles a handler's error.
func (e *environment) failure(w http.ResponseWriter, r *http.Request) { e.take(w, r, true) }

func (e *environment) take(w http.ResponseWriter, r *http.Request, failed bool) {
	inv, refusal := e.f.claim(e, r.PathValue("id"))
	if refusal != nil {
		refusal.render(w)
		return
	}
	reply := &Reply{ContentType: r.Header.Get("Content-Type")}
	if reply.ContentType == "" {
		reply.ContentType = "application/octet-stream"
	}
	reply.Streamed = !failed && (r.Header.Get(headerResponseMode) == "streaming" ||
		r.ContentLength < 0 && reply.ContentType != contentTypeJSON)

	limit := int64(maxBufferedReply)
	if reply.Streamed {
		limit = maxStreamedReply
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		e.f.finish(inv, platformReply(inv.id, TypeTooLarge,
			"Response payload size exceeded maximum allowed payload size (%d bytes).", limit))
		refuseTooLarge.render(w)
		return
	case err != nil:
		e.truncated(inv)
		refuseTruncated.render(w)
		return
	}

	reply.Payload = body
	if failed {
		reply.Error = functionError(body, r.Header.Get(headerErrorType))
	} else if t := r.Trailer.Get(headerErrorType); t != "" {
		raw, err := base64.StdEncoding.DecodeString(r.Trailer.Get(trailerErrorBody))
		if err != nil {
			raw = nil
		}
		reply.Error = functionError(raw, t)
	}
	if refusal := e.f.answer(inv, reply); refusal != nil {
		refusal.render(w)
		return
	}
	accept(w)
}

// truncated finishes an invocation whose answer broke off. Usually the process is ending, and exited finishes the invocation. If the process still
// runs after 1 s, truncated finishes it.
func (e *environment) truncated(inv *invocation) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-e.over:
	case <-t.C:
		e.f.finish(inv, platformReply(inv.id, TypeTruncated, "the runtime's response was truncated"))
	}
}

// refusal is an error that a runtime gets for its call. aws-lambda-go ends the process after any refusal.
type refusal struct {
	status    int
	errorType string
	message   string
}

var (
	refuseLate      = &refusal{http.StatusGone, "InvokeTimeout", "Invoke timeout"}
	refuseUnknown   = &refusal{http.StatusBadRequest, "InvalidRequestID", "Invalid request ID"}
	refuseTruncated = &refusal{http.StatusBadRequest, "TruncatedHTTPRequest", "HTTP request detected as truncated"}
	refuseTooMany   = &refusal{http.StatusInternalServerError, "Runtime.TooManyIdleRuntimes", "More polls than the concurrency allows"}
	refuseTooLarge  = &refusal{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size"}
)

func (x *refusal) render(w http.ResponseWriter) {
	writeJSON(w, x.status, errorBody{Type: x.errorType, Message: x.message})
}

// poll registers an idle runtime. The first poll ends the init phase. poll returns nil if there are too many polls.
func (f *Function) poll(e *environment) *poller {
	p := &poller{invocation: make(chan *invocation, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.state {
	case stopping:
		return p
	case starting:
		e.state = up
		e.initDuration = time.Since(e.started)
		e.returning = f.config.Concurrency // the runtime's other loops poll next
		e.answered = time.Now()
		close(e.polled)
	}
	if len(e.idle) >= f.config.Concurrency {
		return nil
	}
	e.draining = false
	e.returning = max(e.returning-1, 0)
	e.idle = append(e.idle, p)
	f.dispatchLocked()
	f.changedLocked()
	return p
}

// unpoll removes a poll that its client dropped. aws-lambda-go drops a poll only when one of its loops has failed and the process is about to end, so
// no further poll is expected.
func (f *Function) unpoll(e *environment, p *poller) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, other := range e.idle {
		if other == p {
			e.idle = append(e.idle[:i], e.idle[i+1:]...)
			e.draining, e.returning = true, 0
			f.dispatchLocked()
			f.changedLocked()
			return
		}
	}
	select {
	case inv := <-p.invocation: // the poll got an invocation just before
		f.finishLocked(inv, dropped(inv))
	default:
	}
}

func dropped(inv *invocation) *Reply {
	return platformReply(inv.id, TypeUnknown, "the runtime dropped its request for the invocation")
}

// claim finds the invocation that a runtime is about to answer.
func (f *Function) claim(e *environment, id string) (*invocation, *refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	inv := e.inFlight[id]
	switch {
	case inv != nil && !inv.answering:
		inv.answering = true
		return inv, nil
	case inv == nil && e.timedOut.take(id):
		f.lateLocked()
		return nil, refuseLate
	}
	return nil, refuseUnknown
}

// answer gives the caller the runtime's answer, or returns a refusal if the answer came too late.
func (f *Function) answer(inv *invocation, r *Reply) *refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := inv.environment
	if !f.finishLocked(inv, r) {
		if e.timedOut.take(inv.id) {
			f.lateLocked()
			return refuseLate
		}
		return refuseUnknown
	}
	if r.Error != nil {
		f.stats.FunctionErrors++
	}
	if !e.draining {
		e.returning++
		e.answered = time.Now()
	}
	return nil
}

func (f *Function) lateLocked() {
	f.stats.LateReplies++
	f.changedLocked()
}
