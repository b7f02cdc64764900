package emf_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/emf"
	"github.com/lmipool/lmipool/observe"
)

// Whatever events say, a line has no text of them: one dimension, and metrics of the table.
func TestNoTextOfAnEventIsInALine(t *testing.T) {
	t.Parallel()
	out, random, at := &output{}, rand.New(rand.NewPCG(1, 2)), time.Now()
	m, err := emf.New(emf.Options{Writer: out, Dimensions: map[string]string{"FunctionName": "orders"}})
	require.NoError(t, err)
	stop := m.Watch(openQuiet(t))
	secret := func() string { return fmt.Sprint("secret", random.Int()) }
	for range 1000 {
		m.ObserveAcquire(t.Context(), observe.Acquire{Start: at, End: at, Outcome: observe.Refused, For: secret(), RequestID: secret()})
		m.ObserveRelease(t.Context(), observe.Release{Start: at, End: at, For: secret(), RequestID: secret()})
		m.ObserveDial(t.Context(), observe.Dial{Start: at, End: at})
		m.ObserveStatement(t.Context(), observe.Statement{Start: at, End: at.Add(time.Second), SQL: secret(), Alone: secret(), Tag: secret(), RequestID: secret()})
		m.ObserveInvocation(t.Context(), observe.Invocation{Start: at, End: at, RequestID: secret(), Usage: observe.Usage{LongestText: secret(), RepeatText: secret()}})
	}
	stop()
	require.Len(t, out.lines(), 1)
	assert.NotContains(t, out.String(), "secret")
	for name := range parse(t, out.lines()[0]) {
		assert.True(t, name == "FunctionName" || name == "_aws" || slices.Contains(emf.Names(), name), name)
	}
	assert.Equal(t, 1, strings.Count(out.String(), `"Dimensions":[["FunctionName"]]`))
}
