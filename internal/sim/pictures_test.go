package sim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pictured is a scenario that docs/sizing.md shows.
type pictured struct {
	file string
	scenario
	span Span
}

// capacityOfHolds is how many calls of kind hold 16 connections answer in a second, at a round trip of 1 ms.
const capacityOfHolds = 16 * float64(sec) / float64(20*ms+ms)

func callsOf(kind Kind, steps ...Step) Config {
	for i := range steps {
		steps[i].Rate *= capacityOfHolds
	}
	return Config{Max: 16, Group: 32, Cancel: ms, Wakes: 50 * us, Every: 100 * ms, Load: Load{Kinds: []Kind{kind}, Steps: steps}}
}

func during(p Phase) Server {
	return Server{RoundTrip: ms, DialTime: 10 * ms, Phases: []Phase{p}}
}

var pictures = []pictured{
	{"sim-step", scenario{"A step of load: twice what 16 connections can answer", 10 * sec, near, callsOf(hold, Step{Rate: 0.3}, Step{From: 3 * sec, Rate: 2}, Step{From: 7 * sec, Rate: 0.3})}, Span{3, 7, "twice the capacity"}},
	{"sim-slow", scenario{"A slow database: each statement takes five times as long", 10 * sec, during(Phase{From: 3 * sec, To: 7 * sec, Slow: 5}), callsOf(hold, Step{Rate: 0.6})}, Span{3, 7, "5 times slower"}},
	{"sim-still", scenario{"A database that stands still for two seconds", 10 * sec, during(Phase{From: 4 * sec, To: 6 * sec, Still: true}), callsOf(hold, Step{Rate: 0.8})}, Span{4, 6, "nothing moves"}},
	{"sim-retries", scenario{"A retry storm: each failed call comes back three times, at once", 10 * sec, near, callsOf(again(hold), Step{Rate: 0.7}, Step{From: 3 * sec, Rate: 1.5}, Step{From: 7 * sec, Rate: 0.7})}, Span{3, 7, "1.5 times the capacity, and retries"}},
}

// picture runs p with seed and draws it.
func (p pictured) picture(t *testing.T, seed uint64) []byte {
	t.Helper()
	_, e, err := p.run(seed, true, nil)
	require.NoError(t, err)
	var times []float64
	values := map[string][]float64{}
	for _, s := range e.Samples {
		if s.At > p.For {
			break
		}
		times = append(times, s.At.Seconds())
		each := p.Config.Every.Seconds()
		for name, n := range map[string]float64{"offered": float64(s.Offered) / each, "answered": float64(s.Done) / each, "limit": float64(s.Limit), "held": float64(s.Held), "queued": float64(s.Queued)} {
			values[name] = append(values[name], n)
		}
	}
	return (&Picture{Title: p.Name, Times: times, Unit: "seconds", Spans: []Span{p.span}, Panels: []Panel{
		{Unit: "calls per second", Lines: []Line{{"offered", values["offered"], 3, false}, {"answered in time (goodput)", values["answered"], 2, false}}},
		{Unit: "connections", Lines: []Line{{"limit", values["limit"], 1, true}, {"in use", values["held"], 0, false}}},
		{Unit: "callers in the queue", Lines: []Line{{"waiting", values["queued"], 0, false}}},
	}}).SVG()
}

// docs/sizing.md shows each picture. If LMIPOOL_TEST_PICTURES names a directory, the pictures are drawn anew and written there.
func TestSizingShowsThePictures(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/sizing.md")
	require.NoError(t, err)
	for _, p := range pictures {
		if dir := os.Getenv("LMIPOOL_TEST_PICTURES"); dir != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, p.file+".svg"), p.picture(t, 1), 0o644))
		}
		assert.Contains(t, string(text), "(img/"+p.file+".svg)")
		assert.FileExists(t, "../../docs/img/"+p.file+".svg")
	}
}

// A picture follows from its seed to the byte, and is well-formed XML.
func TestAPictureCanBeRepeatedToTheByte(t *testing.T) {
	t.Parallel()
	p := pictures[0]
	first := p.picture(t, 1)
	assert.True(t, bytes.Equal(first, p.picture(t, 1)))
	assert.False(t, bytes.Equal(first, p.picture(t, 2)))
	d := xml.NewDecoder(bytes.NewReader(first))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
}
