package facts_test

import (
	"context"
	"errors"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

var errGone = errors.New("the connection is gone")

func baselines() *facts.Baselines {
	return facts.NewBaselines(facts.Config{
		Allowed: facts.Allowed([]string{"mine", "s.theirs"}),
		Rides:   func() int64 { return 0 },
		Lost:    func(err error) bool { return errors.Is(err, errGone) },
	})
}

// says is an Ask that knows of nothing but what is global, with this sign.
func says(sign string, err error) facts.Ask {
	return func(context.Context, string, ...[]byte) ([][][]byte, error) {
		return [][][]byte{{[]byte("s"), []byte(sign)}}, err
	}
}

func noOthers() []*sqltext.Mentions { return nil }

func TestWhatIsNotKnownIsNotProven(t *testing.T) {
	t.Parallel()
	f, m := baselines().At(""), &sqltext.Mentions{}
	p := f.Prove(m, nil, nil)
	assert.False(t, p.Known)
	assert.Equal(t, sqltext.AnyTrace, p.Trace)
	known, err := f.Know(t.Context(), says("1", nil), m, nil, noOthers)
	assert.NoError(t, err)
	assert.True(t, known)
	p = f.Prove(m, nil, nil)
	assert.True(t, p.Known && p.Told && p.Rides)
	assert.Equal(t, sqltext.NoTrace, p.Trace)
	assert.True(t, p.By.Holds(f))
	assert.False(t, p.By.Holds(baselines().At("")), "they are of another baseline")
}

// A question that could not be answered proves nothing, and is not asked again at once; unless its connection was lost, which says nothing
// of the next.
func TestAQuestionThatFailsRests(t *testing.T) {
	t.Parallel()
	f, m := baselines().At(""), &sqltext.Mentions{}
	known, err := f.Know(t.Context(), says("", errGone), m, nil, noOthers)
	assert.False(t, known)
	assert.NoError(t, err)
	refused := errors.New("refused")
	known, err = f.Know(t.Context(), says("", refused), m, nil, noOthers)
	assert.False(t, known)
	assert.Equal(t, refused, err)
	known, err = f.Know(t.Context(), says("1", nil), m, nil, noOthers)
	assert.False(t, known, "it rests")
	assert.NoError(t, err)
}

// A sign that is another makes what is known suspect, and what was proven is to be proven again.
func TestAnotherSignEndsWhatWasProven(t *testing.T) {
	t.Parallel()
	b, m := baselines(), &sqltext.Mentions{}
	f := b.At("")
	_, err := f.Know(t.Context(), says("1", nil), m, nil, noOthers)
	assert.NoError(t, err)
	var belief facts.Belief
	belief.Note(f)
	p := f.Prove(m, nil, nil)
	f.Sign(time.Now()).Take([][]byte{[]byte("1")}, nil)
	assert.False(t, f.IsSuspect())
	assert.True(t, f.IsFresh(time.Now()))
	f.Sign(time.Now()).Take([][]byte{[]byte("2")}, nil)
	assert.True(t, f.IsSuspect())
	assert.False(t, f.IsFresh(time.Now()))
	assert.False(t, belief.MayBeWrong(f), "not yet: what is wrong is not known")
	assert.False(t, f.Check(t.Context(), says("2", nil)))
	assert.False(t, f.IsSuspect())
	assert.False(t, p.By.Holds(f))
	assert.True(t, belief.MayBeWrong(f))
	assert.EqualValues(t, 1, b.Changes.Load())
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	allowed := facts.Allowed([]string{"mine", "s.theirs"})
	for f, want := range map[sqltext.Function]bool{
		{Name: "mine"}: true, {Schema: "any", Name: "mine"}: true, {Schema: "s", Name: "theirs"}: true,
		{Name: "theirs"}: false, {Schema: "r", Name: "theirs"}: false,
	} {
		assert.Equal(t, want, allowed(f), "%v", f)
	}
}

// stepped returns t as if somebody had set the wall clock by that many seconds. The monotonic clock goes on.
func stepped(t time.Time, seconds int64) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(seconds << 30) // see the comment of time.Time
	return t
}

// A clock that is set back does not make facts young again, and one that is set forward, or stood still while the process was frozen, makes them old.
func TestNoClockMakesOldFactsYoung(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		passed time.Duration // by the monotonic clock
		steps  int64         // what is added to the wall clock, in seconds
		fresh  bool
	}{
		"nothing":                      {0, 0, true},
		"set back at once":             {0, -3600, true},
		"two seconds":                  {2 * time.Second, 0, false},
		"two seconds and an hour back": {2 * time.Second, -3600, false},
		"an hour forward":              {0, 3600, false},
		"an hour back after an hour":   {time.Hour, -3600, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, m := baselines().At(""), &sqltext.Mentions{}
			_, err := f.Know(t.Context(), says("1", nil), m, nil, noOthers)
			require.NoError(t, err)
			begin := time.Now()
			f.Sign(begin).Take([][]byte{[]byte("1")}, nil)
			now := stepped(begin.Add(c.passed), c.steps)
			assert.Equal(t, c.fresh, f.IsFresh(now), "it may ride")
			assert.Equal(t, c.fresh, !f.TooOld(f.RightAt(), now), "its answer counts")
			assert.Equal(t, !c.fresh, f.IsDue(now), "the sign is asked for")
			if !c.fresh {
				assert.True(t, f.Claim(now))
				f.Sign(now).Take([][]byte{[]byte("1")}, nil)
				f.Release()
				assert.True(t, f.IsFresh(now), "it is young again by the new time")
			}
		})
	}
}

// A question that had no answer rests half a second, whatever the wall clock does.
func TestARestEndsThoughTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	f, m := baselines().At(""), &sqltext.Mentions{}
	_, err := f.Know(t.Context(), says("1", nil), m, nil, noOthers)
	require.NoError(t, err)
	f.Sign(time.Now()).Take(nil, errors.New("refused"))
	later := time.Now().Add(time.Second)
	assert.True(t, f.IsDue(later))
	assert.True(t, f.IsDue(stepped(later, -3600)))
}
