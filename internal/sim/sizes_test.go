package sim

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mix is a load. make sizes has measured how many statements a second 64 callers get with 1, 2, 4 ... 64 connections.
type mix struct {
	name string
	at   [7]float64
}

var (
	point   = mix{"point", [7]float64{50462, 80602, 84481, 71807, 58274, 47781, 48136}}
	durable = mix{"durable", [7]float64{3034, 4158, 6358, 9308, 11636, 13109, 14384}}
	tx3     = mix{"tx3", [7]float64{1502, 2404, 3230, 4175, 4949, 4888, 5366}}
	web     = mix{"web", [7]float64{14049, 17433, 22237, 26023, 25775, 23322, 18534}}
	half    = mix{"half", [7]float64{5651, 7291, 10204, 14358, 17561, 18165, 15919}}
)

// slower is by what factor the model's server is slower than the measured one, so that the test has fewer statements to run.
const slower = 2

func (m mix) pace(n int) float64 {
	i := min(math.Log2(float64(n)), 5.999)
	at := m.at[int(i):]
	return (at[0] + (i-math.Floor(i))*(at[1]-at[0])) / slower
}

// best returns the least of the measured numbers of connections that has 97 % of the most throughput, and its throughput.
func (m mix) best() (n int, rate float64) {
	for _, x := range m.at {
		rate = max(rate, x)
	}
	for i, x := range m.at {
		if x >= 0.97*rate {
			return 1 << i, x / slower
		}
	}
	panic("none")
}

// 64 callers ask again as soon as they have their answer, so with 64 connections nobody waits. The pool must find out even so that 4 are better. With
// LMIPOOL_TEST_SIM more mixes and seeds are tried, and the test only prints what became of them.
func TestThePoolFindsItsSize(t *testing.T) {
	t.Parallel()
	days, seeds := [][]mix{{durable, point}, {tx3, point}, {point, durable}, {web, half}}, 1
	if os.Getenv("LMIPOOL_TEST_SIM") != "" {
		days, seeds = append(days, []mix{point}, []mix{durable}, []mix{tx3}, []mix{web}, []mix{half}), 20
	}
	for _, day := range days {
		var names []string
		for _, m := range day {
			names = append(names, m.name)
		}
		t.Run(strings.Join(names, ", then "), func(t *testing.T) {
			t.Parallel()
			var parts, open []string
			for seed := range uint64(seeds) {
				part, most := day[len(day)-1].try(t, seed, day)
				parts, open = append(parts, fmt.Sprintf("%.3f", part)), append(open, fmt.Sprint(most))
				if best, _ := day[len(day)-1].best(); seeds == 1 {
					assert.Greater(t, part, 0.95)
					assert.LessOrEqual(t, most, best+2)
				}
			}
			best, _ := day[len(day)-1].best()
			t.Logf("parts of the throughput with %d connections: %v; open: %v", best, parts, open)
		})
	}
}

// try runs six seconds of each mix of day with seed. It returns the throughput of the last second, as a part of the best throughput of m, and how many
// connections were open then.
func (m mix) try(t *testing.T, seed uint64, day []mix) (part float64, open int) {
	now := day[0]
	w := NewWorld(seed, nil)
	e := NewEnv(w, &Server{DialTime: 5 * ms, Pace: func(n int) float64 { return now.pace(n) }}, Config{
		Max: 64, Wakes: 20 * us, Every: 100 * ms,
		Load: Load{Kinds: []Kind{{Name: "one", Weight: 1, Work: sec, Spread: Exponential}}, Again: true, Steps: []Step{{Burst: 64}}},
	})
	for i, m := range day {
		now = m
		require.NoError(t, w.Run(6*sec*time.Duration(i+1)))
	}
	var done time.Duration
	var opened []int
	last := e.Samples[len(e.Samples)-10:]
	for _, s := range last {
		done, opened = done+s.Work, append(opened, s.Open)
	}
	slices.Sort(opened)
	_, rate := m.best()
	require.NoError(t, Finish(w, e))
	return done.Seconds() / rate, opened[len(opened)/2]
}
