package lmipool_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/singleflight"

	"github.com/lmipool/lmipool"
)

// prices are loaded once for all invocations that ask for the same one together.
type prices struct {
	load    func(ctx context.Context, item string) (int, error)
	flights singleflight.Group
}

// get returns the price of item. The first invocation that asks loads it for all, in
// a goroutine of singleflight's, so it does that with a ctx that is not its own: if
// its client went away or its time were up, all the others would fail with it. And
// nobody waits longer than his own ctx allows.
func (p *prices) get(ctx context.Context, item string) (int, error) {
	flight := p.flights.DoChan(item, func() (any, error) {
		ctx, cancel := lmipool.Detach(ctx, 5*time.Second)
		defer cancel()
		return p.load(ctx, item)
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return 0, r.Err
		}
		return r.Val.(int), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func ExampleDetach() {
	loading, loaded := make(chan struct{}, 2), make(chan struct{})
	p := &prices{load: func(ctx context.Context, _ string) (int, error) {
		loading <- struct{}{}
		<-loaded
		return 42, ctx.Err()
	}}

	leader, itsTimeIsUp := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := p.get(leader, "book")
		left <- err
	}()
	<-loading
	itsTimeIsUp()
	fmt.Println("the leader:", <-left)

	go close(loaded)
	price, err := p.get(context.Background(), "book")
	fmt.Println("its neighbour:", price, err)
	// Output:
	// the leader: context canceled
	// its neighbour: 42 <nil>
}

func TestNeighboursDoNotFailWithTheLeaderOfTheirFlight(t *testing.T) {
	t.Parallel()
	for _, detach := range []bool{true, false} {
		db := openManaged(t, &logged{}, lmipool.Config{})
		began := make(chan struct{}, 10)
		query := func(ctx context.Context, item string) (price int, err error) {
			began <- struct{}{}
			err = db.QueryRow(ctx, "select length($1) from pg_sleep(0.6)", item).Scan(&price)
			return price, err
		}
		p := &prices{load: query}
		get := p.get
		if !detach { // as one would write it without thinking
			get = func(ctx context.Context, item string) (int, error) {
				v, err, _ := p.flights.Do(item, func() (any, error) { return query(ctx, item) })
				return v.(int), err
			}
		}
		h := lmipool.Handler(db, get)
		led := make(chan error, 1)
		go func() { _, err := h(deadline(t, 400*time.Millisecond), "book"); led <- err }()
		<-began
		price, err := h(deadline(t, 10*time.Second), "book")
		assert.Error(t, <-led, "the leader's time is up")
		if !detach {
			assert.Error(t, err, "and takes its neighbour along")
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, 4, price)
		assert.Empty(t, began, "it was loaded once")
		require.Eventually(t, func() bool { return db.Stat().Invocations().Detached == 0 }, 30*time.Second, time.Millisecond)
	}
}
