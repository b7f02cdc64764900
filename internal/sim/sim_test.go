package sim

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// LMIPOOL_TEST_SIM is for how long each scenario is tried, with one seed after the other.
func TestTheRulesHold(t *testing.T) {
	t.Parallel()
	long := time.Duration(0)
	if s := os.Getenv("LMIPOOL_TEST_SIM"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		require.NoError(t, err, "LMIPOOL_TEST_SIM is a duration")
	}
	began := time.Now()
	for seed := uint64(0); seed < 3 || time.Since(began) < long; seed++ {
		for _, s := range scenarios {
			if limitsOf[s.Name] != nil && seed%8 > 0 { // it takes as long as all others
				continue
			}
			_, _, err := s.run(seed, true, nil)
			require.NoError(t, err, "scenario %s, seed %d", s.Name, seed)
		}
	}
}

func TestARunCanBeRepeatedToTheByte(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios {
		trace := func(seed uint64, check bool) []byte {
			var b bytes.Buffer
			_, _, err := s.run(seed, check, func(p []byte) { b.Write(p) })
			require.NoError(t, err)
			return b.Bytes()
		}
		first := trace(1, true)
		assert.NotEmpty(t, first)
		assert.True(t, bytes.Equal(first, trace(1, false)), s.Name)
		assert.False(t, bytes.Equal(first, trace(2, false)), s.Name)
	}
}

func BenchmarkEvents(b *testing.B) {
	for _, check := range []bool{false, true} {
		b.Run(map[bool]string{false: "bare", true: "checked"}[check], func(b *testing.B) {
			events := 0
			for seed := uint64(0); b.Loop(); seed++ {
				for _, s := range scenarios {
					w, _, err := s.run(seed, check, nil)
					require.NoError(b, err)
					events += w.Events
				}
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
