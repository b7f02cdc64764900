package lmitest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

func TestAStreamedAnswerIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	text := strings.Repeat("a long text ", 20_000)
	r := invoke(t, f, event{Do: "stream", Text: text})
	require.Nil(t, r.Error)
	require.True(t, r.Streamed)
	require.Equal(t, text, string(r.Payload))
	require.Equal(t, "application/octet-stream", r.ContentType)
}

func TestAStreamThatBreaksGivesWhatCameAndTheError(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2})
	r := invoke(t, f, event{Do: "stream-fails", Text: "the first part"})
	require.True(t, r.Streamed)
	require.Equal(t, "the first part", string(r.Payload))
	require.Equal(t, "errorString", r.Error.Type)
	require.Equal(t, "the source broke", r.Error.Message)
	ask(t, f, event{}) // the process lives
	require.Equal(t, 1, f.Stats().FunctionErrors)
}
