//go:build unix

package pool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// On-demand Lambda freezes a process between two invocations. Here a child, this binary again, has a pool and is stopped by SIGSTOP.

// freezeDSN makes this binary such a child.
const freezeDSN = "FREEZE_DSN"

// The child's PingTimeout and ConnectTimeout.
const (
	freezePing = 3 * time.Second
	freezeDial = 5 * time.Second
)

// thawed is the child's answer to one line.
type thawed struct {
	Dials, Writes int64 // since the line before: connections that were opened, and writes to sockets
	Counts        int64 // of the fleet, since the pool was opened
	Took          time.Duration
	Moved         int
	Error         string
}

// runFrozen is the main of a child. Each line on stdin is what it does next; at the end of stdin it exits.
func runFrozen() {
	var writes atomic.Int64
	p, err := pool.New(context.Background(), os.Getenv(freezeDSN), &pool.Config{
		MaxConns: int32(len(os.Getenv("FREEZE_CONNS"))), PingTimeout: freezePing, ConnectTimeout: freezeDial, Lanes: pool.Off, HealthCheckPeriod: parsed(os.Getenv("FREEZE_TICK")), MaxConnIdleTime: parsed(os.Getenv("FREEZE_IDLE")),
		BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
			c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &countedWrites{nc.(*net.TCPConn), &writes}, nil
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	var dialsBefore, writesBefore int64
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var r thawed
		err = nil
		began := time.Now()
		switch line := in.Text(); line {
		case "read":
			err = readInScope(p)
		case "two": // two connections at once, which are idle afterwards
			err = errorsOf(p.AcquireFunc(context.Background(), func(a *pool.Lease) error {
				return p.AcquireFunc(context.Background(), func(b *pool.Lease) error { return errorsOf(a.Ping(context.Background()), b.Ping(context.Background())) })
			}))
		case "slip wall":
			r.Moved = p.Slip(20*time.Minute, 0)
		case "slip both":
			r.Moved = p.Slip(20*time.Minute, 20*time.Minute)
		case "try": // a read that gives up, while its dial goes on
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			if p.Ping(ctx) == nil {
				err = errors.New("there is an answer")
			}
			cancel()
		case "settle":
			time.Sleep(50 * time.Millisecond)
		case "rest": // what timers may do now
			time.Sleep(500 * time.Millisecond)
		default:
			err = fmt.Errorf("what is %q?", line)
		}
		if err != nil {
			r.Error = err.Error()
		}
		d, w := p.Stat().NewConnsCount(), writes.Load()
		r.Took, r.Dials, r.Writes = time.Since(began), d-dialsBefore, w-writesBefore
		dialsBefore, writesBefore, r.Counts = d, w, p.Stat().Fleet().Polls
		if json.NewEncoder(os.Stdout).Encode(&r) != nil {
			os.Exit(1)
		}
	}
	p.Close()
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func parsed(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

// readInScope is one invocation: one read.
func readInScope(p *pool.Pool) error {
	ctx, scope := p.OpenScope(context.Background(), "", time.Now().Add(20*time.Second))
	defer scope.End()
	var n int
	return p.QueryRow(ctx, "select 1").Scan(&n)
}

type countedWrites struct {
	*net.TCPConn
	n *atomic.Int64
}

func (c *countedWrites) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.TCPConn.Write(b)
}

// frozen is a child in the eyes of the test.
type frozen struct {
	t     *testing.T
	cmd   *osexec.Cmd
	in    *os.File
	out   *json.Decoder
	see   *inspector
	proxy *netfault.Proxy
}

// newFrozen starts a child whose pool has opened conns connections, which are all that it may have.
func newFrozen(t *testing.T, conns int, tick, idle time.Duration) *frozen {
	t.Helper()
	dsn := pgtest.Database(t)
	f := &frozen{t: t, see: newInspector(t, dsn), proxy: newProxy(t, dsn)}
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	u.Host = f.proxy.Addr()
	f.cmd = osexec.Command(os.Args[0])
	f.cmd.Env = append(os.Environ(), freezeDSN+"="+u.String(), "FREEZE_CONNS="+strings.Repeat("x", conns), "FREEZE_TICK="+tick.String(), "FREEZE_IDLE="+idle.String())
	var log strings.Builder
	f.cmd.Stderr = &log
	in, out := pipe(t), pipe(t)
	f.cmd.Stdin, f.cmd.Stdout, f.in, f.out = in[0], out[1], in[1], json.NewDecoder(out[0])
	require.NoError(t, f.cmd.Start())
	t.Cleanup(func() {
		f.in.Close()
		f.proxy.Cut()
		time.AfterFunc(10*time.Second, func() { _ = f.cmd.Process.Kill() })
		_ = f.cmd.Process.Signal(syscall.SIGCONT)
		_ = f.cmd.Wait()
		assert.NotContains(t, log.String(), "DATA RACE")
		if t.Failed() {
			t.Logf("the child's log:\n%s", log.String())
		}
	})
	out[1].Close()
	in[0].Close()
	if conns == 2 {
		f.do("two")
	}
	for f.do("read").Counts == 0 { // the first count of the fleet comes within a second or two of use, and the next after a minute
		f.do("settle")
	}
	for quiet := 0; quiet < 3; { // until it has learnt what there is to learn, and nothing runs in the background
		f.do("settle")
		if quiet++; f.do("read").Writes != warm {
			quiet = 0
		}
	}
	f.do("settle")
	return f
}

// warm is how often a read writes to a socket if its connection was used within the last second.
const warm = 1

func pipe(t *testing.T) (ends [2]*os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return [2]*os.File{r, w}
}

// do has the child do something without an error.
func (f *frozen) do(line string) (r thawed) {
	f.t.Helper()
	_, err := fmt.Fprintln(f.in, line)
	require.NoError(f.t, err)
	require.NoError(f.t, f.out.Decode(&r))
	require.Empty(f.t, r.Error, line)
	return r
}

// freezes stops the child for d. Meanwhile the test does what happens.
func (f *frozen) freezes(d time.Duration, happens func()) {
	f.t.Helper()
	require.NoError(f.t, f.cmd.Process.Signal(syscall.SIGSTOP))
	began := time.Now()
	happens()
	time.Sleep(d - time.Since(began))
	require.NoError(f.t, f.cmd.Process.Signal(syscall.SIGCONT))
}

// nothing happens.
func nothing() {}

// ended ends all sessions of the child, as a server does that restarts, or that has idle_session_timeout.
func (f *frozen) ended() {
	f.see.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	eventually(f.t, "the sessions end", func() bool { return f.backends() == 0 })
}

func (f *frozen) backends() int { return f.see.backends() }

// freezeFor is how long children are stopped: a bit more than a second, from which on a connection is pinged.
func freezeFor(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("LMIPOOL_TEST_FREEZE"); s != "" {
		return parsed(s)
	}
	return 1100 * time.Millisecond
}

// The first read after a freeze costs one round trip more if its connection lives, one dial if it was closed, and PingTimeout and one dial if it is
// silently gone. It does not fail. LMIPOOL_TEST_FREEZE=60s makes the freeze longer, and tries all cases.
func TestTheFirstReadAfterAFreeze(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conns   int
		slip    string // how the clocks move; if it is empty they go on during SIGSTOP
		happens func(*frozen) func()
		dials   int64
		silent  bool
		short   bool // whether it is tried without LMIPOOL_TEST_FREEZE, too
	}{
		"lives":                            {2, "", func(*frozen) func() { return nothing }, 0, false, true},
		"closed":                           {2, "", func(f *frozen) func() { return f.ended }, 1, false, true},
		"gone":                             {2, "", func(f *frozen) func() { return f.proxy.Forget }, 1, true, false},
		"closed, one connection":           {1, "", func(f *frozen) func() { return f.ended }, 1, false, false},
		"gone, one connection":             {1, "", func(f *frozen) func() { return f.proxy.Forget }, 1, true, true},
		"gone, one connection, 20 minutes": {1, "slip both", func(f *frozen) func() { return f.proxy.Forget }, 1, true, false},
		"lives, 20 minutes":                {2, "slip both", func(*frozen) func() { return nothing }, 0, false, true},
		"gone, 20 minutes":                 {2, "slip both", func(f *frozen) func() { return f.proxy.Forget }, 1, true, false},
		"lives, the clock stood":           {2, "slip wall", func(*frozen) func() { return nothing }, 0, false, false},
		"gone, the clock stood":            {2, "slip wall", func(f *frozen) func() { return f.proxy.Forget }, 1, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !c.short && os.Getenv("LMIPOOL_TEST_FREEZE") == "" {
				t.Skip("LMIPOOL_TEST_FREEZE=60s tries it, too")
			}
			f, d := newFrozen(t, c.conns, time.Hour, time.Hour), freezeFor(t)
			if c.slip != "" {
				d = 10 * time.Millisecond
				require.Greater(t, f.do(c.slip).Moved, 5)
			}
			f.freezes(d, c.happens(f))
			r := f.do("read")
			assert.LessOrEqual(t, f.backends(), c.conns+1, "the server may still have the one that is gone")
			if c.conns == 1 || c.dials == 0 {
				assert.Equal(t, c.dials, r.Dials)
			} else { // if a dial takes four times as long as usual, the pool begins another
				assert.LessOrEqual(t, r.Dials, c.dials+1)
			}
			switch {
			case c.silent:
				if c.slip == "" {
					assert.GreaterOrEqual(t, r.Took, freezePing)
				} // otherwise a count of the fleet may find out sooner
				assert.Less(t, r.Took, 2*freezePing, "the other connection is not pinged for as long, and nobody waits for its end")
			case c.dials == 0 && c.slip == "":
				assert.EqualValues(t, warm+1, r.Writes, "one round trip more")
			case c.dials == 0:
				assert.Contains(t, []int64{warm + 1, warm + 2}, r.Writes, "one round trip more, and perhaps a count of the fleet, which is due")
			}
		})
	}
}

// What slept through a freeze opens no more connections than were there, even if housekeeping is due and all connections have been idle for too long.
func TestAfterAFreezeThereIsNoStampede(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(*frozen) func(){
		"lives":  func(*frozen) func() { return nothing },
		"closed": func(f *frozen) func() { return f.ended },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFrozen(t, 2, 20*time.Millisecond, time.Second)
			f.do("two")
			f.freezes(freezeFor(t), happens(f))
			assert.LessOrEqual(t, f.do("read").Dials+f.do("rest").Dials, int64(2))
			assert.LessOrEqual(t, f.backends(), 2)
		})
	}
}

// A dial whose time is over when the process goes on is no error of the first read, which has a dial of its own.
func TestADialThatWasFrozenIsNobodysError(t *testing.T) {
	t.Parallel()
	f := newFrozen(t, 1, time.Hour, time.Hour)
	f.proxy.Cut() // and not f.ended: on a busy machine the proxy may stall before it has told the child, which then cancels its Ping on the old connection and waits 15 s for the end of that
	f.proxy.Stall(true)
	f.do("try")
	f.freezes(freezeDial+100*time.Millisecond, func() {
		f.proxy.Forget()
		f.proxy.Stall(false)
	})
	r := f.do("read")
	assert.EqualValues(t, 1, r.Dials)
	assert.Less(t, r.Took, freezeDial)
}
