package lmipool_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
)

// What is learned after an invocation began counts for it: its ctx ends earlier, and it is
// answered for earlier.
func TestAnInvocationIsAnsweredForEarlierWhenThingsHaveBecomeLate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		late     time.Duration
		set      lmipool.Config
		answered time.Duration // before the deadline
		err      error
	}{
		"as ever":    {0, lmipool.Config{}, 250 * time.Millisecond, context.DeadlineExceeded},
		"late":       {200 * time.Millisecond, lmipool.Config{}, 800 * time.Millisecond, context.Canceled},
		"too late":   {time.Minute, lmipool.Config{}, time.Second, context.Canceled},
		"set, late":  {time.Minute, lmipool.Config{ReplyMargin: 300 * time.Millisecond}, 300 * time.Millisecond, context.DeadlineExceeded},
		"other, set": {time.Minute, lmipool.Config{Margin: 700 * time.Millisecond}, 700 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openManaged(t, &logged{}, c.set)
			ended := make(chan error, 1)
			hang := make(chan struct{})
			defer close(hang)
			_, err := lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) {
				if c.late > 0 {
					lmipool.Saw(db, c.late)
				}
				<-ctx.Done()
				ended <- ctx.Err()
				<-hang
				return 0, nil
			})(deadline(t, 3*time.Second), 0)
			var overrun *lmipool.OverrunError
			require.ErrorAs(t, err, &overrun)
			if c.late == 0 { // a busy machine may have made it late by itself
				assert.LessOrEqual(t, overrun.After, 3*time.Second-c.answered)
			} else {
				assert.InDelta(t, 3*time.Second-c.answered, overrun.After, float64(50*time.Millisecond))
			}
			if err := <-ended; c.late == 0 {
				assert.Error(t, err)
			} else {
				assert.Equal(t, c.err, err)
				assert.GreaterOrEqual(t, db.HandlerStat().Lateness, c.late)
			}
		})
	}
}

// aws-lambda-go cancels the invocation's ctx when the reply is sent.
func TestTheWayOfRepliesIsMeasured(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	h := lmipool.Handler(db, func(ctx context.Context, i int) (int, error) { return i, nil })
	invocation := func(left time.Duration) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithTimeout(context.Background(), left)
		return lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: "r-1"}), cancel
	}
	ctx, cancel := invocation(time.Minute)
	_, err := h(ctx, 1)
	require.NoError(t, err)
	time.Sleep(30 * time.Millisecond)
	cancel()
	require.Eventually(t, func() bool { return db.HandlerStat().Lateness >= 30*time.Millisecond }, 30*time.Second, time.Millisecond)
	assert.Zero(t, db.HandlerStat().LateReplies)
	assert.NotContains(t, log.text(), "not sent by its deadline")

	for i := range 3 {
		ctx, cancel = invocation(400 * time.Millisecond)
		_, err = h(ctx, 1)
		require.NoError(t, err)
		<-ctx.Done() // and it was not sent
		cancel()
		require.Eventually(t, func() bool { return db.HandlerStat().LateReplies == int64(i+1) }, 30*time.Second, time.Millisecond)
	}
	assert.Equal(t, 1, strings.Count(log.text(), "not sent by its deadline"))

	// Outside aws-lambda-go nothing says when a reply is sent.
	_, err = h(deadline(t, 200*time.Millisecond), 1)
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	assert.EqualValues(t, 3, db.HandlerStat().LateReplies)
}

// stuck is a Handler that never comes back from a warning.
type stuck struct {
	slog.Handler
	until chan struct{}
}

func (s stuck) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		<-s.until
	}
	return s.Handler.Handle(ctx, r)
}

// What the end of a scope has to say does not keep the reply.
func TestALoggerThatHangsKeepsNoReply(t *testing.T) {
	t.Parallel()
	until := make(chan struct{})
	log := &logged{}
	db, err := lmipool.OpenIn(t.Context(), managed("64"), pgtest.Database(t), &lmipool.Config{Logger: slog.New(stuck{log.logger().Handler(), until})})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	defer close(until)
	boom := errors.New("boom")
	_, err = lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) {
		_, err := db.Acquire(ctx)
		assert.NoError(t, err)
		return 0, boom
	})(deadline(t, 20*time.Second), 0)
	assert.ErrorIs(t, err, boom)
	assert.Eventually(t, func() bool { return db.Stat().AcquiredConns() == 0 }, 10*time.Second, time.Millisecond, "taken back meanwhile")
}
