package facts_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

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
