package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// sampleEvery is the time between two samples. They may miss a connection that lasts less, but System.Opened counts it.
const sampleEvery = 10 * time.Millisecond

// sample has the numbers of one moment, which counts from the start of the load.
type sample struct {
	at          time.Duration
	inFlight    int
	connections int
}

// sampler watches the demo's database from another database, so that its own connection is not counted in pg_stat_activity or
// pg_stat_database.sessions.
type sampler struct {
	conn *pgx.Conn
}

func newSampler(ctx context.Context, connString string) (*sampler, error) {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return nil, err
	}
	return &sampler{conn: conn}, nil
}

func (s *sampler) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // the server is stopped next
}

// connections returns the number of client backends of the demo's database now. Its query, like that of sessions, does not end with ctx: pgx closes a
// connection whose query was cancelled, and the sampler has one connection for all systems.
func (s *sampler) connections(ctx context.Context) (n int, err error) {
	err = s.conn.QueryRow(context.WithoutCancel(ctx), `select count(*) from pg_stat_activity
		where datname = $1 and backend_type = 'client backend'`, demoDatabase).Scan(&n)
	return n, err
}

// sessions returns the number of connections ever opened to the demo's database. A backend is in that statistic at its exit at the latest.
func (s *sampler) sessions(ctx context.Context) (n int64, err error) {
	err = s.conn.QueryRow(context.WithoutCancel(ctx), `select sessions from pg_stat_database where datname = $1`, demoDatabase).Scan(&n)
	return n, err
}

// settled waits until no connection is left and returns the number of sessions then.
func (s *sampler) settled(ctx context.Context) (int64, error) {
	last, same := int64(-1), 0
	for {
		n, err := s.connections(ctx)
		if err != nil {
			return 0, err
		}
		sessions, err := s.sessions(ctx)
		if err != nil {
			return 0, err
		}
		if n == 0 && sessions == last {
			same++
		} else {
			same = 0
		}
		if same == 5 { // 100 ms without a change
			return sessions, nil
		}
		last = sessions
		if !sleep(ctx, 20*time.Millisecond) {
			return 0, context.Cause(ctx)
		}
	}
}

// recording is what a sampler has seen since record was called.
type recording struct {
	stop    context.CancelFunc
	done    chan struct{}
	began   time.Time
	samples []sample // relative to began
	err     error
}

// record takes a sample every sampleEvery until finish is called. inFlight must be safe for concurrent use.
func (s *sampler) record(ctx context.Context, inFlight func() int) *recording {
	ctx, cancel := context.WithCancel(ctx)
	r := &recording{stop: cancel, done: make(chan struct{}), began: time.Now()}
	go func() {
		defer close(r.done)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			n, err := s.connections(ctx)
			if err != nil {
				r.err = err
				return
			}
			r.samples = append(r.samples, sample{at: time.Since(r.began), inFlight: inFlight(), connections: n})
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return r
}

// finish ends the recording and returns its samples relative to start, and the largest gap between two of them.
func (r *recording) finish(start time.Time) (samples []sample, gap time.Duration, err error) {
	r.stop()
	<-r.done
	for i := range r.samples {
		if i > 0 {
			gap = max(gap, r.samples[i].at-r.samples[i-1].at)
		}
	}
	offset := start.Sub(r.began)
	for i := range r.samples {
		r.samples[i].at -= offset
	}
	return r.samples, gap, r.err
}
