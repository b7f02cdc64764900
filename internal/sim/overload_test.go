package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is answered in time keeps nearly all of the connections busy, however much is offered, and nearly nothing is given up while it runs. First in,
// first out has 0.06 to 0.7 of the capacity here.
func TestOverloadIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	with := func(k Kind, change func(*Kind)) Kind { change(&k); return k }
	one := func(k Kind) []Kind { return []Kind{k} }
	heavy := with(hold, func(k *Kind) { k.Weight, k.Work = 0.111, 200*ms })
	for _, c := range []struct {
		name     string
		kinds    []Kind
		cancel   time.Duration
		canceled float64 // the most that may be given up while it runs, of all that are lent a connection
	}{
		{"hold", one(hold), ms, 0.005},
		{"exponential", one(with(hold, func(k *Kind) { k.Spread = Exponential })), 100 * ms, 0.005},
		{"deadlines", []Kind{with(hold, func(k *Kind) { k.Within = 200 * ms }), with(hold, func(k *Kind) { k.Within = 2 * sec })}, ms, 0.005},
		{"heavy, unknown", []Kind{hold, heavy}, 100 * ms, 0.05},
		{"heavy, known", []Kind{with(hold, func(k *Kind) { k.Known = true }), with(heavy, func(k *Kind) { k.Known = true })}, ms, 0.02},
		{"retries", one(again(hold)), ms, 0.005},
	} {
		for _, x := range []float64{1.25, 2, 5} {
			var work, weight float64
			for _, k := range c.kinds {
				work, weight = work+k.Weight*(k.Work+200*us).Seconds(), weight+k.Weight
			}
			capacity := 16 / (work / weight)
			s := scenario{c.name, 8 * sec, Server{RoundTrip: 200 * us, DialTime: 10 * ms}, Config{
				Max: 16, Cancel: c.cancel, Wakes: 50 * us, Every: sec,
				Load: Load{Kinds: c.kinds, Steps: []Step{{Rate: capacity / 2}, {From: 2 * sec, Rate: capacity * x}}},
			}}
			var n, all Counts
			const seeds = 3
			for seed := range uint64(seeds) {
				_, e, err := s.run(seed, true, nil)
				require.NoError(t, err, "%s, %v times the capacity", c.name, x)
				for _, s := range e.Samples[3:8] { // the second after the step is left out
					n.Done, n.Late, n.Canceled, n.Work = n.Done+s.Done, n.Late+s.Late, n.Canceled+s.Canceled, n.Work+s.Work
				}
				all = e.Total
			}
			good := n.Work.Seconds() / (16 * 5 * seeds)
			assert.Greater(t, good, 0.93, "%s, %v times the capacity: %+v", c.name, x, n)
			assert.Zero(t, n.Late)
			assert.LessOrEqual(t, float64(n.Canceled), c.canceled*float64(n.Done+n.Canceled), "%s, %v times the capacity: %+v", c.name, x, n)
			t.Logf("%s, %v times the capacity: %.3f, %+v, %+v", c.name, x, good, n, all)
		}
	}
}

// Nine keys offer 0.09 of the capacity each, which is less than their part, and a tenth offers all of it: the nine are answered, and the tenth gets the
// rest. Without fairness half of everybody's calls are answered.
func TestANoisyKeyDoesNotPushOutTheOthers(t *testing.T) {
	t.Parallel()
	capacity := 16 / (20*ms + 200*us).Seconds()
	var kinds []Kind
	for i := range 10 {
		k := hold
		k.Key, k.Weight = string(rune('a'+i)), 0.09
		if i == 9 {
			k.Weight = 1
		}
		kinds = append(kinds, k)
	}
	for _, fair := range []bool{true, false} {
		w := NewWorld(1, nil)
		answered, offered := map[string]int{}, map[string]int{}
		e := NewEnv(w, &Server{RoundTrip: 200 * us, DialTime: 10 * ms}, Config{
			Max: 16, Cancel: ms, Wakes: 50 * us, Check: true, Fair: fair,
			Load: Load{Kinds: kinds, Steps: []Step{{Rate: capacity / 2}, {From: sec, Rate: 1.81 * capacity}}},
		})
		require.NoError(t, w.Run(2*sec))
		e.ended = func(c *caller, err error) {
			offered[c.kind.Key]++
			if err == nil {
				answered[c.kind.Key]++
			}
		}
		require.NoError(t, w.Run(8*sec))
		part := func(key string) float64 { return float64(answered[key]) / float64(offered[key]) }
		quiet, good := 1.0, 0.0
		for _, k := range kinds {
			good += float64(answered[k.Key]) / (6 * capacity)
			if k.Key != "j" {
				quiet = min(quiet, part(k.Key))
			}
		}
		t.Logf("fair %v: of the nine at least %.2f, of the noisy one %.2f, %.3f of the capacity", fair, quiet, part("j"), good)
		assert.Greater(t, good, 0.95)
		if fair {
			assert.Greater(t, quiet, 0.9)
			assert.Greater(t, part("j"), 0.15)
		} else {
			assert.Less(t, quiet, 0.8, "so it is fairness that this test sees")
		}
		require.NoError(t, Finish(w, e))
	}
}
