package pool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/snapshot"
	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

// BenchmarkASnapshot is what the status page asks for twice a second, while 64 invocations hold a connection and 64 wait for one: the whole snapshot, with
// its JSON, and what of it needs the scheduler's lock.
func BenchmarkASnapshot(b *testing.B) {
	var r snapshot.Recorder
	p := newPool(b, &pool.Config{MaxConns: 64, MaxWait: -1, Observers: []any{&r}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	for i := range 128 {
		go func() {
			scoped, scope := p.OpenScope(ctx, fmt.Sprint("request-", i), time.Time{})
			defer func() { done <- struct{}{} }()
			defer scope.End()
			if l, err := p.Acquire(scoped); err == nil {
				defer l.Release()
				_, _ = l.Exec(scoped, "select 'some text that is as long as a statement usually is', id from generate_series(1, 2) id where id > $1", 0)
				<-ctx.Done()
			}
		}()
	}
	require.Eventually(b, func() bool { s := p.Stat(); return s.AcquiredConns() == 64 && s.Queued() == 64 }, time.Minute, time.Millisecond)
	for i := range 100 {
		now := time.Now()
		r.ObserveStatement(ctx, observe.Statement{SQL: fmt.Sprint("select * from t", i, " where id = 7"), Start: now, End: now.Add(time.Second)})
	}
	about := snapshot.About{ID: "id"}
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			_, err := json.Marshal(r.Take(p, about, nil))
			require.NoError(b, err)
		}
	})
	b.Run("lock", func(b *testing.B) {
		for b.Loop() {
			pool.LooksOfASnapshot(p)
		}
	})
	cancel()
	for range 128 {
		<-done
	}
}
