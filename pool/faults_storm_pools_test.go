package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/pool"
)

// victim is a pool in the storm.
type victim struct {
	*pool.Pool
	f    *faults
	open gauge // its sockets
	log  *logs
}

func (f *faults) open(conns int32) *victim {
	v := &victim{f: f, log: &logs{}}
	dsn := f.dsn
	if f.mode != simpleProtocol { // which New refuses with a pgx that is not safe in it
		dsn = withParam(dsn, "default_query_exec_mode", f.mode)
	}
	p, err := pool.New(context.Background(), dsn, &pool.Config{
		MaxConns: conns, ConnectTimeout: time.Second, Logger: v.log.logger(),
		BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) error {
			if f.mode == simpleProtocol {
				c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
			}
			return errors.Join(through(f.proxy)(ctx, c), wrapped(v.counts)(ctx, c))
		},
	})
	if err != nil {
		panic(err) // it does not dial
	}
	p.NeverSlow()
	v.Pool = p
	return v
}

// close closes the pool, to which everything has come back.
func (v *victim) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stormPatience)
	defer cancel()
	before := v.open.most.Load()
	if err := v.Shutdown(ctx); err != nil {
		v.f.b.violation("it could not be shut down", "%v", err)
	}
	// The server may have more, of which it does not know yet that they are dead: so it is sockets that are counted.
	// After Shutdown each connection that is torn away has a cancel connection of its own.
	s := v.Stat()
	most := int64(s.MaxConns() + s.Cancels().MaxConns)
	if after := v.open.most.Load(); before > most || after > most+int64(s.MaxConns()) {
		v.f.b.violation("too many sockets", "%d, and %d in the end, of a pool of %d", before, after, s.MaxConns())
	}
	if n := v.open.now.Load(); n > 0 {
		v.f.b.violation("sockets that nobody closed", "%d", n)
	}
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	for _, r := range v.log.records {
		if r.Level >= slog.LevelError {
			v.f.b.violation("an error in the log", "%s", r.Message)
		}
	}
}

// counts has a socket counted as long as it is open.
func (v *victim) counts(nc *net.TCPConn) net.Conn {
	return &socket{nc, v.open.enter()}
}

type socket struct {
	*net.TCPConn
	leave func()
}

func (s *socket) Close() error {
	defer s.leave()
	return s.TCPConn.Close()
}

// turn makes one random call, and notes what came of it.
func (f *faults) turn(p *pool.Pool, r *rand.Rand) {
	u := &turn{way: f.ways[r.IntN(len(f.ways))], p: p, db: p, r: r, id: f.ids.Add(1), clean: f.clean, traces: stormLeaves}
	if f.mode == execMode { // in which nothing is taken away
		u.traces = []string{"select 1"}
	}
	if f.mode != simpleProtocol && f.mode != execMode && !u.own && r.IntN(2) == 0 { // in which settings cannot travel
		u.tenant = fmt.Sprint("tenant ", r.IntN(5))
		u.db = p.With(map[string]string{"app.tenant": u.tenant})
	}
	patience, cancel := stormPatience, func() {}
	switch u.ctx = context.Background(); r.IntN(10) {
	case 0:
		patience = time.Duration(r.IntN(20)) * time.Millisecond
		u.ctx, cancel = context.WithTimeout(u.ctx, patience)
	case 1: // it never ends
	default:
		u.ctx, cancel = context.WithTimeout(u.ctx, patience)
	}
	defer cancel()
	began := time.Now()
	err := u.run(u)
	if late := time.Since(began) - patience; late > tooLate {
		f.b.violation("back too late", "%s: %v after %v: %v", u.name, late, patience, err)
	}
	f.b.note(u, err)
}

// visitor opens pools, has them used by a few, and closes them at once, whatever is still due in their sessions.
func (f *faults) visitor(r *rand.Rand) {
	for ; !f.over(); f.visits.Add(1) {
		f.pause(r, 50*time.Millisecond)
		v := f.open(1 + r.Int32N(3))
		seed, turns := r.Uint64(), 1+r.IntN(4)
		together(1+r.IntN(5), func(i int) {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range turns {
				f.turn(v.Pool, r)
			}
		})
		f.pause(r, 3*time.Millisecond)
		v.close()
	}
}
