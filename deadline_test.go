package lmipool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

func past(t *testing.T, ago time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithDeadline(context.WithValue(context.Background(), key{}, "value"), time.Now().Add(-ago))
	t.Cleanup(cancel)
	return ctx
}

type key struct{}

func TestAfterItsDeadlineAnInvocationIsNotBegun(t *testing.T) {
	t.Parallel()
	db := openManaged(t, &logged{}, lmipool.Config{})
	for _, ago := range []time.Duration{time.Microsecond, time.Second, 23 * time.Hour} {
		_, err := lmipool.Handler(db, func(context.Context, int) (int, error) {
			t.Error("it runs")
			return 0, nil
		})(past(t, ago), 0)
		var late *lmipool.DeadlinePassedError
		require.ErrorAs(t, err, &late)
		assert.GreaterOrEqual(t, late.Ago, ago)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, lmipool.Retryable(err))
		var overrun *lmipool.OverrunError
		assert.NotErrorAs(t, err, &overrun, "nobody overran")
	}
	assert.Zero(t, db.HandlerStat().Overruns)
}

func TestADeadlineThatIsLongPastOrYearsAwayIsNone(t *testing.T) {
	t.Parallel()
	for _, vars := range []map[string]string{managed("64"), onDemand(), with(managed("64"), "LMIPOOL_STAND_IN", "off")} {
		for _, ago := range []time.Duration{25 * time.Hour, time.Since(time.Unix(0, 0)), time.Since(time.UnixMilli(-1)), -30 * 365 * 24 * time.Hour} {
			log := &logged{}
			db, err := lmipool.OpenIn(t.Context(), vars, pgtest.Database(t), &lmipool.Config{Logger: log.logger()})
			require.NoError(t, err)
			t.Cleanup(db.Close)
			var kept context.Context
			for range 3 {
				out, err := lmipool.Handler(db, func(ctx context.Context, in int) (out int, err error) {
					kept = ctx
					assert.Equal(t, "value", ctx.Value(key{}))
					err = db.QueryRow(ctx, "select 2 * $1::int", in).Scan(&out)
					return out, err
				})(past(t, ago), 21)
				require.NoError(t, err, "%v, %s", vars, ago)
				assert.Equal(t, 42, out)
			}
			assert.ErrorIs(t, db.Ping(kept), pool.ErrInvocationEnded)
			if _, has := kept.Deadline(); ago > 0 {
				assert.False(t, has)
			}
			if ago > 0 || db.Env().Kind == lambdaenv.ManagedInstances && vars["LMIPOOL_STAND_IN"] == "" {
				assert.Equal(t, "WARN", log.line(t, "an invocation's deadline is more than a day away, or past; it counts as none")["level"], "once")
			}
		}
	}
}

// runtimeAPI is an emulator that sends one invocation, with a deadline of its own.
func runtimeAPI(t *testing.T, deadline string, payload any) (address string, reply <-chan string) {
	t.Helper()
	text, err := json.Marshal(payload)
	require.NoError(t, err)
	replies, over := make(chan string, 1), make(chan struct{})
	var once sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Base(r.URL.Path) != "next" {
			body, _ := io.ReadAll(r.Body)
			replies <- path.Base(r.URL.Path) + " " + string(body)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		first := false
		once.Do(func() { first = true })
		if !first {
			select {
			case <-over:
			case <-r.Context().Done():
			}
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8f3a")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", deadline)
		w.Write(text)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(over) })
	return s.Listener.Addr().String(), replies
}

// Through aws-lambda-go's own loop, as an emulator would send it. Without lmipool the handler runs, with a ctx that has ended.
func TestAnEmulatorsDeadlineOfZero(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ child, deadline, do, want string }{
		{"bulkhead", "0", "answer", `response {"N":42,`},
		{"bulkhead", "-1", "answer", `response {"N":42,`},
		{"bulkhead", "12345", "answer", `response {"N":42,`},
		{"bulkhead", fmt.Sprint(time.Now().Add(-2 * time.Second).UnixMilli()), "answer", `error {"errorMessage":"lmipool: the invocation's deadline was over when it came, since `},
		{"bare", "0", "nothing", `response {"N":21,`},
	} {
		for _, kind := range []string{"lambda-managed-instances", "on-demand"} {
			if kind == "on-demand" && strings.HasPrefix(c.want, "error") {
				continue // as without lmipool: the handler runs
			}
			address, reply := runtimeAPI(t, c.deadline, task{Do: c.do, N: 21})
			cmd := exec.CommandContext(bounded(t), os.Args[0])
			out := &syncBuffer{}
			cmd.Stdout, cmd.Stderr = out, out
			cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + address, "AWS_LAMBDA_INITIALIZATION_TYPE=" + kind, "AWS_LAMBDA_MAX_CONCURRENCY=2", "CHILD=" + c.child, "DATABASE_URL=" + pgtest.Database(t)}
			require.NoError(t, cmd.Start())
			select {
			case got := <-reply:
				assert.True(t, strings.HasPrefix(got, c.want), "%s, %s: %s", c.deadline, kind, got)
			case <-bounded(t).Done():
				t.Errorf("no reply\n%s", out.String())
			}
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
}
