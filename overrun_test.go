package lmipool_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
	"github.com/lmipool/lmipool/pool"
)

// openManaged opens a pool as on a managed instance of concurrency 64.
func openManaged(t *testing.T, log *logged, c lmipool.Config) *lmipool.Pool {
	t.Helper()
	c.Logger = log.logger()
	db, err := lmipool.OpenIn(t.Context(), managed("64"), pgtest.Database(t), &c)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// hanging is a handler that returns when the test ends, whatever its ctx says.
func hanging[Out any](t *testing.T) func(context.Context, int) (Out, error) {
	t.Helper()
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	return func(context.Context, int) (out Out, err error) { <-end; return out, nil }
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestZombies is not parallel: it looks for goroutines.
func TestZombiesGetAnErrorAndLeaveNoGoroutine(t *testing.T) {
	dsn := pgtest.Database(t)
	before := goleak.IgnoreCurrent()
	log := &logged{}
	db, err := lmipool.OpenIn(t.Context(), managed("64"), dsn, &lmipool.Config{Logger: log.logger(), MaxOverruns: 64})
	require.NoError(t, err)
	_, err = db.Exec(bounded(t), "create table written (by int)")
	require.NoError(t, err)
	errs := make(chan error, 1000)
	const timeout = 400 * time.Millisecond
	h := lmipool.Handler(db, func(ctx context.Context, i int) (int, error) {
		free := context.WithoutCancel(ctx)
		var tx interface {
			Commit(context.Context) error
		}
		if i%8 == 0 {
			t, err := db.Begin(free)
			if err != nil {
				return 0, err
			}
			tx = t
			if _, err := t.Exec(free, "insert into written values ($1)", i); err != nil {
				return 0, err
			}
		}
		if i%2 == 1 {
			return i, nil
		}
		<-ctx.Done()
		time.Sleep(timeout) // the margin, and then some
		for range 20 {      // a zombie writes, from two goroutines
			done := make(chan error)
			go func() {
				_, err := db.Exec(free, "insert into written values ($1)", i)
				done <- err
			}()
			_, err := db.Exec(ctx, "insert into written values ($1)", i)
			errs <- err
			errs <- <-done
		}
		if tx != nil {
			errs <- tx.Commit(free)
		}
		return i, nil
	})
	var in []int
	for i := range 16 {
		in = append(in, i)
	}
	results := lmitest.Call(bounded(t), lmitest.CallOptions{Timeout: timeout}, h, in)
	for i, r := range results {
		assert.False(t, r.Late, "%d", i)
		if i%2 == 1 {
			assert.NoError(t, r.Err)
			assert.Equal(t, i, r.Out)
			continue
		}
		var overrun *lmipool.OverrunError
		assert.ErrorAs(t, r.Err, &overrun)
		assert.ErrorIs(t, r.Err, context.DeadlineExceeded)
	}
	require.Eventually(t, func() bool { return db.HandlerStat().Overrunning == 0 }, 10*time.Second, time.Millisecond)
	assert.EqualValues(t, 8, db.HandlerStat().Overruns)
	close(errs)
	uses := 0
	for err := range errs {
		uses++
		assert.ErrorIs(t, err, pool.ErrInvocationEnded)
	}
	assert.Equal(t, 8*40+2, uses)
	var written int
	require.NoError(t, db.QueryRow(bounded(t), "select count(*) from written").Scan(&written))
	assert.Zero(t, written, "also not what the two transactions had written before")
	db.Close()
	require.Eventually(t, func() bool { return goleak.Find(before) == nil }, 30*time.Second, 5*time.Millisecond, "%v", goleak.Find(before))
}

func TestOnOverrunMakesTheReply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		onOverrun func(context.Context, any) (any, error)
		check     func(t *testing.T, out string, err error)
	}{
		"a value": {
			func(_ context.Context, in any) (any, error) { assert.Equal(t, 7, in); return "504", nil },
			func(t *testing.T, out string, err error) { assert.NoError(t, err); assert.Equal(t, "504", out) },
		},
		"an error": {
			func(context.Context, any) (any, error) { return nil, errors.New("busy") },
			func(t *testing.T, _ string, err error) { assert.EqualError(t, err, "busy") },
		},
		"nothing": {
			func(context.Context, any) (any, error) { return nil, nil },
			func(t *testing.T, out string, err error) { assert.NoError(t, err); assert.Empty(t, out) },
		},
		"another type": {
			func(context.Context, any) (any, error) { return 504, nil },
			func(t *testing.T, _ string, err error) {
				assert.EqualError(t, err, "lmipool: Config.OnOverrun returned a int for a handler that returns string")
			},
		},
		"a panic": {
			func(context.Context, any) (any, error) { panic("oops") },
			func(t *testing.T, _ string, err error) {
				var r messages.InvokeResponse_Error
				assert.ErrorAs(t, err, &r)
				assert.Equal(t, "oops", r.Message)
				assert.False(t, r.ShouldExit)
			},
		},
		"too late": {
			func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return "504", nil },
			func(t *testing.T, _ string, err error) {
				var overrun *lmipool.OverrunError
				assert.ErrorAs(t, err, &overrun)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openManaged(t, &logged{}, lmipool.Config{OnOverrun: c.onOverrun})
			ctx := deadline(t, 6*time.Second) // so there are 500 ms for the reply, on a busy machine too
			out, err := lmipool.Handler(db, hanging[string](t))(ctx, 7)
			assert.NoError(t, ctx.Err(), "before the deadline")
			c.check(t, out, err)
		})
	}
}

func TestOnPanicMakesTheReply(t *testing.T) {
	t.Parallel()
	panics := func(context.Context, int) (string, error) { panic("oops") }
	for name, c := range map[string]struct {
		onPanic func(context.Context, any, any) (any, error)
		out     string
		err     string
	}{
		"a value": {func(_ context.Context, in, v any) (any, error) {
			assert.Equal(t, []any{7, "oops"}, []any{in, v})
			return "500", nil
		}, "500", ""},
		"an error":     {func(context.Context, any, any) (any, error) { return nil, errors.New("sorry") }, "", "sorry"},
		"nothing":      {func(context.Context, any, any) (any, error) { return nil, nil }, "", ""},
		"another type": {func(context.Context, any, any) (any, error) { return 500, nil }, "", "lmipool: Config.OnPanic returned a int for a handler that returns string"},
	} {
		db := openManaged(t, &logged{}, lmipool.Config{OnPanic: c.onPanic})
		out, err := lmipool.Handler(db, panics)(bounded(t), 7)
		assert.Equal(t, c.out, out, name)
		if c.err == "" {
			assert.NoError(t, err, name)
		} else {
			assert.EqualError(t, err, c.err, name)
		}
	}
	db := openManaged(t, &logged{}, lmipool.Config{OnPanic: func(context.Context, any, any) (any, error) { panic("again") }})
	_, err := lmipool.Handler(db, panics)(bounded(t), 7)
	var r messages.InvokeResponse_Error
	require.ErrorAs(t, err, &r)
	assert.Equal(t, "again", r.Message)
	assert.EqualValues(t, 1, db.HandlerStat().Panics)
}

func TestWithoutASensibleDeadlineNobodyIsAnsweredFor(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{})
	release := make(chan struct{})
	var ctxs [2]context.Context
	h := lmipool.Handler(db, func(ctx context.Context, i int) (int, error) {
		ctxs[i] = ctx
		<-release
		return i, db.Ping(ctx)
	})
	years, cancel := context.WithTimeout(context.Background(), 30*365*24*time.Hour)
	defer cancel()
	done := make(chan error, 2)
	go func() { _, err := h(context.Background(), 0); done <- err }()
	go func() { _, err := h(years, 1); done <- err }()
	close(release)
	assert.NoError(t, <-done)
	assert.NoError(t, <-done)
	_, has := ctxs[0].Deadline()
	assert.False(t, has)
	want, _ := years.Deadline()
	got, _ := ctxs[1].Deadline()
	assert.Equal(t, want, got, "not a margin before it")
	assert.Zero(t, db.HandlerStat().Overruns)
}

func TestTheHandlersCtxEndsAMarginBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{})
	ctx := deadline(t, 3*time.Second)
	real, _ := ctx.Deadline()
	_, err := lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) {
		d, ok := ctx.Deadline()
		assert.True(t, ok)
		assert.InDelta(t, 500*time.Millisecond, real.Sub(d), float64(100*time.Millisecond))
		return 0, nil
	})(ctx, 0)
	assert.NoError(t, err)
}

func TestMargins(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		config                    lmipool.Config
		left, late, margin, reply time.Duration
	}{
		{lmipool.Config{}, 200 * ms, 0, 100 * ms, 50 * ms},
		{lmipool.Config{}, 50 * ms, 0, 25 * ms, 12500 * time.Microsecond},
		{lmipool.Config{}, 600 * ms, 0, 100 * ms, 50 * ms},
		{lmipool.Config{}, time.Second, 0, time.Second / 6, time.Second / 12},
		{lmipool.Config{}, 3 * time.Second, 0, 500 * ms, 250 * ms},
		{lmipool.Config{}, 15 * time.Minute, 0, time.Second, 500 * ms},
		{lmipool.Config{Margin: 2 * time.Second}, 15 * time.Minute, 0, 2 * time.Second, time.Second},
		{lmipool.Config{Margin: 2 * time.Second}, time.Second, 0, 500 * ms, 250 * ms},
		{lmipool.Config{ReplyMargin: 300 * ms}, 15 * time.Minute, 0, time.Second, 300 * ms},
		{lmipool.Config{ReplyMargin: 300 * ms}, 200 * ms, 0, 100 * ms, 100 * ms},
		// Four times the lateness, of which the first margins cover some.
		{lmipool.Config{}, 6 * time.Second, 125 * ms, time.Second, 500 * ms},
		{lmipool.Config{}, 6 * time.Second, 200 * ms, 1300 * ms, 800 * ms},
		{lmipool.Config{}, 6 * time.Second, 500 * ms, 2500 * ms, 2 * time.Second},
		{lmipool.Config{}, 600 * ms, 25 * ms, 150 * ms, 100 * ms},
		// The bounds: a third of the time, 3 s; half of the time.
		{lmipool.Config{}, 6 * time.Second, 10 * time.Second, 2500 * ms, 2 * time.Second},
		{lmipool.Config{}, 15 * time.Minute, 10 * time.Second, 3500 * ms, 3 * time.Second},
		{lmipool.Config{}, 600 * ms, 10 * time.Second, 250 * ms, 200 * ms},
		{lmipool.Config{}, 60 * ms, 10 * time.Second, 30 * ms, 20 * ms},
		// What the user has set stays.
		{lmipool.Config{Margin: 2 * time.Second}, 15 * time.Minute, 10 * time.Second, 2 * time.Second, 2 * time.Second},
		{lmipool.Config{Margin: 2 * time.Second}, 15 * time.Minute, 350 * ms, 2 * time.Second, 1400 * ms},
		{lmipool.Config{ReplyMargin: 300 * ms}, 15 * time.Minute, 10 * time.Second, time.Second, 300 * ms},
		{lmipool.Config{Margin: 2 * time.Second, ReplyMargin: 300 * ms}, 15 * time.Minute, 10 * time.Second, 2 * time.Second, 300 * ms},
	} {
		margin, reply := lmipool.Margins(&c.config, c.left, c.late)
		assert.Equal(t, c.margin, margin, "%s left, %s late, %+v", c.left, c.late, c.config.Margin)
		assert.Equal(t, c.reply, reply, "%s left, %s late", c.left, c.late)
	}
}

// A nested handler is part of the invocation: it has no reply of its own.
func TestNestedHandlersAreOneInvocation(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{MaxOverruns: 1})
	inner := lmipool.Handler(db, func(ctx context.Context, in int) (int, error) {
		if in == 0 {
			panic("inside")
		}
		return in, db.Ping(ctx)
	})
	outer := lmipool.Handler(db, inner)
	out, err := outer(deadline(t, 3*time.Second), 7)
	require.NoError(t, err)
	assert.Equal(t, 7, out)
	_, err = outer(deadline(t, 3*time.Second), 0)
	var r messages.InvokeResponse_Error
	require.ErrorAs(t, err, &r)
	assert.Equal(t, "inside", r.Message)
	assert.EqualValues(t, 1, db.HandlerStat().Panics, "once")
}

func TestStandingDownRefusesNewWorkAndFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{
		MaxOverruns: 1,
		OnOverrun:   func(context.Context, any) (any, error) { return -1, nil },
	})
	hang, release := hanging[int](t), make(chan struct{})
	running := make(chan error)
	h := lmipool.Handler(db, func(ctx context.Context, in int) (int, error) {
		if in == 1 {
			<-release
			return lmipool.Handler(db, func(ctx context.Context, in int) (int, error) { return in, db.Ping(ctx) })(ctx, in)
		}
		return hang(ctx, in)
	})
	go func() { _, err := h(deadline(t, 10*time.Second), 1); running <- err }()
	for range 2 {
		out, err := h(deadline(t, 1200*time.Millisecond), 0)
		assert.NoError(t, err, "it has a reply of its own, which ends nothing")
		assert.Equal(t, -1, out)
	}
	_, err := h(deadline(t, 10*time.Second), 0)
	var r messages.InvokeResponse_Error
	require.ErrorAs(t, err, &r)
	assert.True(t, r.ShouldExit, "this one ends the process")
	assert.Contains(t, r.Message, "standing down")
	line := log.line(t, "standing down")
	assert.Equal(t, "ERROR", line["level"])
	assert.EqualValues(t, 2, line["overrunning"])
	close(release)
	assert.NoError(t, <-running, "also the handler inside it")
	assert.EqualValues(t, 1, db.HandlerStat().Refused)
}

func TestAShutdownRefusesNewWork(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	lmipool.Terminate(db)
	_, err := lmipool.Handler(db, hanging[int](t))(deadline(t, time.Second), 0)
	assert.EqualError(t, err, "lmipool: this environment is shutting down and takes no new work")
	assert.ErrorIs(t, db.Ping(bounded(t)), pool.ErrClosed)
	log.line(t, "SIGTERM: all connections closed")
}

// One place is logged once a minute, and what is reset not at all. So the last line counts what happened.
func TestTheLastLineCountsWhatWentWrong(t *testing.T) {
	t.Parallel()
	log := &logged{}
	db := openManaged(t, log, lmipool.Config{})
	h := lmipool.Handler(db, func(ctx context.Context, leaks bool) (int, error) {
		if leaks {
			_, err := db.Acquire(ctx)
			return 0, err
		}
		_, err := db.Exec(ctx, "set statement_timeout = '1h'")
		return 0, err
	})
	for i := range 6 {
		_, err := h(deadline(t, time.Minute), i < 3)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return db.Stat().Invocations().Resets == 3 }, 30*time.Second, time.Millisecond)
	lmipool.Terminate(db)
	assert.Equal(t, map[string]any{"invocations": 6.0, "leaks": 3.0, "resets": 3.0}, log.line(t, "SIGTERM: all connections closed")["totals"])
}

func TestASwitchTurnsEachProtectionOff(t *testing.T) {
	t.Parallel()
	panics := func(context.Context, int) (int, error) { panic("boom") }
	for _, c := range []struct {
		vars            map[string]string
		config          lmipool.Config
		standIn, caught bool
	}{
		{managed("64"), lmipool.Config{}, true, true},
		{with(managed("64"), "LMIPOOL_STAND_IN", "off"), lmipool.Config{StandIn: lmipool.On}, false, true},
		{with(managed("64"), "LMIPOOL_CATCH_PANICS", "off"), lmipool.Config{CatchPanics: lmipool.On}, true, false},
		{with(managed("64"), "LMIPOOL_PLAIN", "on"), lmipool.Config{StandIn: lmipool.On}, false, false},
		{managed("64"), lmipool.Config{StandIn: lmipool.Off, CatchPanics: lmipool.Off}, false, false},
		{onDemand(), lmipool.Config{}, false, false},
		{with(onDemand(), "LMIPOOL_STAND_IN", "on", "LMIPOOL_CATCH_PANICS", "on"), lmipool.Config{}, true, true},
		{nil, lmipool.Config{}, false, false},
	} {
		c.config.Logger = (&logged{}).logger()
		db, err := lmipool.OpenIn(t.Context(), c.vars, dsn, &c.config)
		require.NoError(t, err)
		_, err = lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) {
			d, _ := ctx.Deadline()
			assert.Equal(t, c.standIn, time.Until(d) < 2700*time.Millisecond, "%v: ctx ends early", c.vars)
			return 0, nil
		})(deadline(t, 3*time.Second), 0)
		assert.NoError(t, err)
		exits := func() (exits bool) {
			defer func() {
				if recover() != nil {
					exits = true
				}
			}()
			_, err := lmipool.Handler(db, panics)(deadline(t, 3*time.Second), 0)
			var r messages.InvokeResponse_Error
			return errors.As(err, &r) && r.ShouldExit
		}()
		assert.Equal(t, !c.caught, exits, "%v: a panic ends the process", c.vars)
		db.Close()
	}
}

func onDemand() map[string]string {
	return map[string]string{"AWS_LAMBDA_RUNTIME_API": "x", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
}

func TestTheHandlersSettingsAreChecked(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]string{
		"LMIPOOL_STAND_IN":     {"yes", "1", "ON"},
		"LMIPOOL_CATCH_PANICS": {"1", "exit", "shadow"},
		"LMIPOOL_MARGIN":       {"0", "-1s", "5"},
		"LMIPOOL_REPLY_MARGIN": {"0s", "soon"},
		"LMIPOOL_MAX_OVERRUNS": {"0", "-1", "1.5"},
		"LMIPOOL_MAX_PANICS":   {"0", "many"},
	} {
		for _, value := range bad {
			_, err := lmipool.OpenIn(t.Context(), with(managed("64"), name, value), dsn, nil)
			assert.ErrorContains(t, err, name+` is "`+value+`": want `)
		}
	}
	_, err := lmipool.OpenIn(t.Context(), managed("64"), dsn, &lmipool.Config{Margin: -1, ReplyMargin: -1, MaxOverruns: -1, MaxPanics: -1})
	for _, field := range []string{"Margin", "ReplyMargin", "MaxOverruns", "MaxPanics"} {
		assert.ErrorContains(t, err, "Config."+field+" is -1")
	}
	_, err = lmipool.OpenIn(t.Context(), managed("64"), dsn, &lmipool.Config{Margin: time.Second, ReplyMargin: 2 * time.Second})
	assert.ErrorContains(t, err, "Config.ReplyMargin is 2s: want at most Margin, 1s")
}

func TestAnOnPanicThatExitsItsGoroutineIsAnErrorReply(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{OnPanic: func(context.Context, any, any) (any, error) {
		runtime.Goexit()
		return nil, nil
	}})
	_, err := lmipool.Handler(db, func(context.Context, int) (int, error) { panic("boom") })(deadline(t, 3*time.Second), 1)
	var goexit *lmipool.GoexitError
	assert.ErrorAs(t, err, &goexit)
	assert.Zero(t, db.HandlerStat().Overrunning)
}
