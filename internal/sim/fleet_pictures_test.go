package sim

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fleetPictures are the pictures of fleets that docs/sizing.md shows.
var fleetPictures = map[string]func(*testing.T) *Picture{
	"fleet-twelve": func(t *testing.T) *Picture {
		f := newFleet(1, 40, true)
		for range 12 {
			f.Start()
		}
		var come func()
		come = func() {
			f.Others = max(0, min(10, f.Others+f.Rand.IntN(5)-2, f.Limit-f.Total))
			f.In(f.exponential(sec), come)
		}
		come()
		f.In(60*sec, func() {
			for range 4 {
				f.Stop(f.any(), true)
				f.Start()
			}
		})
		return f.draw(t, "12 environments, CONNECTION LIMIT 40; another client takes and frees 0 to 10", 120*sec, sec, Span{60, 62, "4 killed, 4 new"})
	},
	"fleet-deployment": func(t *testing.T) *Picture {
		f := newFleet(1, 5000, true)
		f.Lost = 0.3
		started(t, f, 1000)
		f.In(60*sec, func() { f.deploy(300*sec, 420*sec) })
		return f.draw(t, "A deployment of 1,000 environments; CONNECTION LIMIT 5,000, 30 % of polls lost", 1200*sec, 10*sec,
			Span{60, 360, "new ones start"}, Span{480, 780, "old ones end"})
	},
	"fleet-jump": func(t *testing.T) *Picture {
		f := newFleet(1, 40, false)
		for range 12 {
			f.Start()
		}
		f.In(60*sec, func() {
			for range 24 {
				f.Start()
			}
		})
		return f.draw(t, "12 environments become 36 at one moment; FleetBudget 40 and no limit", 120*sec, sec, Span{60, 62, "24 new"})
	},
}

// draw runs f for a time, and draws what there is after each step.
func (f *Fleet) draw(t *testing.T, title string, length, step time.Duration, spans ...Span) *Picture {
	p := &Picture{Title: title, Unit: "seconds", Spans: spans}
	start, polls := f.now, f.Polls
	var all, budget, others, members, least, most, fair, rate []float64
	for ; f.now <= start+length; require.NoError(t, f.Run(f.now+step)) {
		p.Times = append(p.Times, (f.now - start).Seconds())
		var open []int
		for _, m := range f.Members {
			open = append(open, m.Share.Most(f.Now()))
		}
		slices.Sort(open)
		all, others, budget = append(all, float64(f.Total+f.Others)), append(others, float64(f.Others)), append(budget, float64(max(f.Budget, f.Limit)))
		members = append(members, float64(len(f.Members)))
		least, most, fair = append(least, float64(open[len(open)/100])), append(most, float64(open[len(open)-1-len(open)/100])), append(fair, float64(open[len(open)/2]))
		rate, polls = append(rate, float64(f.Polls-polls)/step.Seconds()), f.Polls
	}
	role := []Line{{"budget", budget, 3, true}, {"all", all, 0, true}}
	if slices.Max(others) > 0 {
		role = append(role, Line{"not lmipool's", others, 1, true})
	}
	p.Panels = []Panel{
		{Unit: "backends of the role", Lines: role},
		{Unit: "an environment's share", Lines: []Line{{"most (1 in 100 has more)", most, 1, true}, {"median", fair, 2, true}, {"least (1 in 100 has less)", least, 0, true}}},
		{Unit: "environments", Lines: []Line{{"environments", members, 0, true}}},
		{Unit: "polls a second", Lines: []Line{{"all environments together", rate, 0, true}}},
	}
	return p
}

// docs/sizing.md shows each picture. If LMIPOOL_TEST_PICTURES names a directory, the pictures are drawn anew and written there.
func TestSizingShowsThePicturesOfFleets(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/sizing.md")
	require.NoError(t, err)
	for file, draw := range fleetPictures {
		if dir := os.Getenv("LMIPOOL_TEST_PICTURES"); dir != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, file+".svg"), draw(t).SVG(), 0o644))
		}
		assert.True(t, strings.Contains(string(text), "(img/"+file+".svg)"), file)
		assert.FileExists(t, "../../docs/img/"+file+".svg")
	}
}
