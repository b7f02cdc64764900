package catalog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// knowing are facts by which a statement that mentions nothing is proven.
func knowing() *facts.Facts { return nothingOfTheUsers }

var nothingOfTheUsers = func() *facts.Facts {
	f := facts.NewBaselines(facts.Config{Allowed: facts.Allowed(nil), Rides: func() int64 { return 0 }, Lost: func(error) bool { return false }}).At("")
	nothing := func(context.Context, string, ...[]byte) ([][][]byte, error) {
		return [][][]byte{{[]byte("s"), []byte("0")}}, nil // the sign of what is global
	}
	if known, err := f.Know(context.Background(), nothing, &sqltext.Mentions{}, nil, func() []*sqltext.Mentions { return nil }); err != nil || !known {
		panic("it is not known that there is nothing")
	}
	return f
}()

func TestTheCatalogForgetsWhatWasNotWantedForLongest(t *testing.T) {
	t.Parallel()
	g := NewStore(knowing)
	kept := g.Find("select 0", "")
	for i := 1; i <= 3*storeSize; i++ {
		g.Find(fmt.Sprintf("select %d", i), "")
		assert.Same(t, kept, g.Find("select 0", ""), "it is wanted all the time")
	}
	assert.Equal(t, storeSize, g.used.Len())
	assert.Len(t, g.bySQL, storeSize)
	assert.NotContains(t, g.bySQL, Key{SQL: "select 1"})
}

// With more texts than there is room for, a look is for those that come again.
func TestTheCatalogLooksAtWhatComesAgain(t *testing.T) {
	t.Parallel()
	g := NewStore(knowing)
	for i := range storeSize - 1 {
		assert.True(t, g.Find(fmt.Sprintf("select %d", i), "").Claim())
	}
	s := g.Find("select 'one more'", "")
	assert.False(t, s.Claim())
	assert.Same(t, s, g.Find("select 'one more'", ""))
	assert.True(t, s.Claim())
	assert.False(t, s.Claim(), "once")
}

// A look that fails is tried again, and not for ever.
func TestTheCatalogLooksAFewTimes(t *testing.T) {
	t.Parallel()
	g := NewStore(knowing)
	s := g.Find("select 1", "")
	for range maxLooks {
		assert.True(t, s.Claim())
		s.Record(nil, "")
	}
	assert.False(t, s.Claim())
	_, _, why := s.Shareable()
	assert.Equal(t, AloneCalls, why)
}

func TestOneHiccupMakesNoStatementSlow(t *testing.T) {
	t.Parallel()
	g := NewStore(knowing)
	s := g.Find("select 1", "")
	s.Record(&Description{}, "")
	g.Observe([]Observation{{s, 15 * time.Millisecond, 10}})
	_, _, why := s.Shareable()
	assert.Empty(t, why)
	for range 3 {
		g.Observe([]Observation{{s, 15 * time.Millisecond, 10}})
	}
	for range 20 {
		g.Observe([]Observation{{s, 15 * time.Millisecond, 10}})
	}
	_, _, why = s.Shareable()
	assert.Equal(t, AloneSlow, why)
	for range 20 {
		g.Observe([]Observation{{s, time.Millisecond, 10}})
	}
	_, _, why = s.Shareable()
	assert.Empty(t, why, "it has become fast")
}

func TestALargeResultIsRemembered(t *testing.T) {
	t.Parallel()
	g := NewStore(knowing)
	s := g.Find("select 1", "")
	s.Record(&Description{}, "")
	for range 50 {
		g.Observe([]Observation{{s, 0, 1000}})
	}
	_, _, why := s.Shareable()
	assert.Empty(t, why)
	g.Observe([]Observation{{s, 0, memrows.MaxResult + 1}})
	g.Observe([]Observation{{s, 0, 1}})
	_, _, why = s.Shareable()
	assert.Equal(t, AloneLarge, why)
}
