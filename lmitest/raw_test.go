package lmitest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

// A runtime that does what aws-lambda-go never does. It runs one invocation at a time, and survives refusals.

func runRawRuntime() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	var statuses []int // of all answers so far
	for {
		r, err := http.Get(api + "next")
		if err != nil {
			panic(err)
		}
		var e event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			panic(err)
		}
		r.Body.Close()
		id := r.Header.Get("Lambda-Runtime-Aws-Request-Id")
		var body io.Reader = strings.NewReader(fmt.Sprint(statuses))
		switch e.Do {
		case "wait":
			_ = waitAt(e.Gate)
		case "wrong id":
			id = "00000000-0000-4000-8000-000000000000"
		case "twice":
			statuses = append(statuses, post(api+id+"/response", strings.NewReader("1")))
		case "late twice":
			_ = waitAt(e.Gate)
			statuses = append(statuses, post(api+id+"/response", strings.NewReader("1")))
		case "overlap":
			body = &reader{then: body, first: func() {
				statuses = append(statuses, post(api+id+"/response", strings.NewReader("1")))
			}}
		case "broken":
			body = io.MultiReader(strings.NewReader("the first part"), brokenReader{})
		}
		statuses = append(statuses, post(api+id+"/response", body))
	}
}

// reader calls first before it is read.
type reader struct {
	first func()
	then  io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if r.first != nil {
		r.first()
		r.first = nil
	}
	return r.then.Read(p)
}

// post returns the status, 0 if there was none. The body is read when the server has begun to handle the request.
func post(url string, body io.Reader) int {
	req, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Expect", "100-continue")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

func runInitThatReports() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
	status := post(api, bytes.NewBufferString(`{"errorType":"Runtime.NoSuchHandler","errorMessage":"I have no handler"}`))
	fmt.Fprintln(os.Stderr, "init error:", status)
}

func TestALateAnswerIsGoneOnceAndThenUnknown(t *testing.T) {
	t.Parallel()
	f := start(t, "raw", lmitest.Config{Concurrency: 1, Timeout: 100 * time.Millisecond})
	g := newGate(t)
	require.Equal(t, lmitest.TypeTimedOut, invoke(t, f, event{Do: "late twice", Gate: g.address()}).Error.Type)
	g.wantWaiting(1).pass()
	await(t, f, func(s lmitest.Stats) bool { return s.LateReplies == 1 && s.Idle == 1 })
	require.Equal(t, "[410 400]", string(invoke(t, f, event{}).Payload))
	require.Zero(t, f.Stats().Exits)
}

func TestASecondAnswerIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t, "raw", lmitest.Config{Concurrency: 1})
	require.Equal(t, "1", string(invoke(t, f, event{Do: "twice"}).Payload))
	require.Equal(t, "[202 400]", string(invoke(t, f, event{}).Payload))
}

func TestASecondAnswerBesideTheFirstIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t, "raw", lmitest.Config{Concurrency: 1})
	require.Equal(t, "[]", string(invoke(t, f, event{Do: "overlap"}).Payload))
	require.Equal(t, "[400 202]", string(invoke(t, f, event{}).Payload))
}

func TestAnUnknownRequestIDIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t, "raw", lmitest.Config{Concurrency: 1, Timeout: 100 * time.Millisecond})
	require.Equal(t, lmitest.TypeTimedOut, invoke(t, f, event{Do: "wrong id"}).Error.Type)
	await(t, f, func(s lmitest.Stats) bool { return s.Idle == 1 }) // a late poll would not be waited for
	require.Equal(t, "[400]", string(invoke(t, f, event{}).Payload))
}

func TestAnAnswerThatBreaksOffIsTruncated(t *testing.T) {
	t.Parallel()
	f := start(t, "raw", lmitest.Config{Concurrency: 1, Timeout: time.Minute})
	require.Equal(t, lmitest.TypeTruncated, invoke(t, f, event{Do: "broken"}).Error.Type)
}
