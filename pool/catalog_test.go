package pool

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// knowing are facts by which a statement that mentions nothing is proven.
func knowing() *facts.Facts { return nothingOfTheUsers }

var nothingOfTheUsers = func() *facts.Facts {
	f := facts.NewBaselines(facts.Config{Allowed: facts.Allowed(nil), Rides: func() int64 { return 0 }, Lost: isLost}).At("")
	nothing := func(context.Context, string, string, [][]byte) ([][][]byte, error) {
		return [][][]byte{{[]byte("s"), []byte("0")}}, nil // the sign of what is global
	}
	if known, err := f.Know(context.Background(), nothing, &sqltext.Mentions{}, nil, func() []*sqltext.Mentions { return nil }); err != nil || !known {
		panic("it is not known that there is nothing")
	}
	return f
}()

func TestTheCatalogForgetsWhatWasNotWantedForLongest(t *testing.T) {
	t.Parallel()
	g := newCatalog(knowing)
	kept := g.find("select 0", "")
	for i := 1; i <= 3*catalogSize; i++ {
		g.find(fmt.Sprintf("select %d", i), "")
		assert.Same(t, kept, g.find("select 0", ""), "it is wanted all the time")
	}
	assert.Equal(t, catalogSize, g.used.Len())
	assert.Len(t, g.bySQL, catalogSize)
	assert.NotContains(t, g.bySQL, "select 1")
}

// With more texts than there is room for, a look is for those that come again.
func TestTheCatalogLooksAtWhatComesAgain(t *testing.T) {
	t.Parallel()
	g := newCatalog(knowing)
	for i := range catalogSize - 1 {
		assert.True(t, g.describe(g.find(fmt.Sprintf("select %d", i), "")))
	}
	s := g.find("select 'one more'", "")
	assert.False(t, g.describe(s))
	assert.Same(t, s, g.find("select 'one more'", ""))
	assert.True(t, g.describe(s))
	assert.False(t, g.describe(s), "once")
}

// A look that fails is tried again, and not for ever.
func TestTheCatalogLooksAFewTimes(t *testing.T) {
	t.Parallel()
	g := newCatalog(knowing)
	s := g.find("select 1", "")
	for range maxLooks {
		assert.True(t, g.describe(s))
		g.described(s, nil, "")
	}
	assert.False(t, g.describe(s))
	_, _, _, why := g.mayRide(s)
	assert.Equal(t, aloneCalls, why)
}

func TestOneHiccupMakesNoStatementSlow(t *testing.T) {
	t.Parallel()
	g := newCatalog(knowing)
	s := g.find("select 1", "")
	g.described(s, &description{}, "")
	g.observe(s, 15*time.Millisecond, 10)
	_, _, _, why := g.mayRide(s)
	assert.Empty(t, why)
	for range 3 {
		g.observe(s, 15*time.Millisecond, 10)
	}
	for range 20 {
		g.observe(s, 15*time.Millisecond, 10)
	}
	_, _, _, why = g.mayRide(s)
	assert.Equal(t, aloneSlow, why)
	for range 20 {
		g.observe(s, time.Millisecond, 10)
	}
	_, _, _, why = g.mayRide(s)
	assert.Empty(t, why, "it has become fast")
}

func TestALargeResultIsRemembered(t *testing.T) {
	t.Parallel()
	g := newCatalog(knowing)
	s := g.find("select 1", "")
	g.described(s, &description{}, "")
	for range 50 {
		g.observe(s, 0, 1000)
	}
	_, _, _, why := g.mayRide(s)
	assert.Empty(t, why)
	g.observe(s, 0, maxResult+1)
	g.observe(s, 0, 1)
	_, _, _, why = g.mayRide(s)
	assert.Equal(t, aloneLarge, why)
}

func TestAtMostIsTheShorterOfTwoTimeouts(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"0": "100ms", "50ms": "50ms", "99": "99", "100ms": "100ms", "5s": "100ms", "1min": "100ms", "2h": "100ms", "1d": "100ms",
		"5000us": "5000us", "nonsense": "100ms", "": "100ms", "99999999999999999999ms": "100ms",
	} {
		assert.Equal(t, want, atMost(setting, 100*time.Millisecond), setting)
	}
}
