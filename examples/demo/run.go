package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
)

// demoDatabase is the database of the handlers. The sampler connects to another one, so that it does not count itself.
const demoDatabase = "demo"

// run starts the server, runs the systems one after the other and stops the server. It returns an error if the server fails; if a system fails, its
// entry in the result says so.
func run(ctx context.Context, o options, p progress) (*Result, error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.close()

	r := &Result{Settings: b.settings, Published: published()}
	for _, sys := range o.systems {
		s := b.run(ctx, sys, p)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		switch {
		case s.Error != "":
			p.say("%-16s %s", s.Name, s.Error)
		default:
			p.say("%-16s %d in flight, %d connections, %.1f s", s.Name, s.InFlight, s.PeakConnections, s.Seconds)
		}
		r.Systems = append(r.Systems, s)
	}
	return r, nil
}

// bench has what all systems share: the server, the link in front of it and the sampler.
type bench struct {
	options  options
	settings Settings
	server   *pgtest.Server
	link     *netfault.Proxy
	sampler  *sampler
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, settings: newSettings(o, time.Now())}
	if err := b.open(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) open(ctx context.Context) (err error) {
	o := b.options
	// The server has room for as many connections as any system may open, and 50 for the sampler and the superuser.
	b.settings.MaxConnections = max(200, max(o.clients, o.concurrency)+50)
	b.server, err = pgtest.Start(ctx, pgtest.Options{
		Settings: map[string]string{"max_connections": strconv.Itoa(b.settings.MaxConnections)},
	})
	if err != nil {
		return err
	}
	if b.link, err = netfault.Listen(b.server.Addr()); err != nil {
		return err
	}
	b.link.SetRoundTrip(o.link)
	if b.sampler, err = newSampler(ctx, b.server.ConnString()); err != nil {
		return err
	}
	if _, err = b.sampler.conn.Exec(ctx, "create database "+demoDatabase); err != nil {
		return err
	}
	if err = b.sampler.conn.QueryRow(ctx, "show server_version").Scan(&b.settings.PostgreSQL); err != nil {
		return err
	}
	b.settings.PgBouncer = pgbouncerVersion(ctx)
	if _, err := findPgbouncer(); err == nil {
		b.settings.PgBouncerOptions = strings.ReplaceAll(pgbouncerOptions, "\n", ", ")
	}
	return nil
}

// close stops all that newBench has started, even if newBench failed.
func (b *bench) close() {
	if b.sampler != nil {
		b.sampler.close()
	}
	if b.link != nil {
		b.link.Close()
	}
	if b.server != nil {
		b.server.Stop()
	}
}

// run measures one system under the load. When it returns, no process and no connection of the system is left.
func (b *bench) run(ctx context.Context, sys system, p progress) System {
	s := System{Name: sys.name, How: sys.how, Opened: -1}
	ctx, cancel := context.WithTimeoutCause(ctx, b.patience(), fmt.Errorf("not done after %v", b.patience()))
	defer cancel()
	if err := b.measure(ctx, sys, &s, p); err != nil {
		s.Error = err.Error()
	}
	return s
}

// patience returns how long a system may take: four times the shortest time that the load can take, and a minute.
func (b *bench) patience() time.Duration {
	o := b.options
	rounds := o.requests/min(o.clients, o.concurrency) + 1
	return 4*time.Duration(rounds)*o.hold + time.Minute
}

// measure starts the system, loads it and stops it, and then counts what it opened.
func (b *bench) measure(ctx context.Context, sys system, s *System, p progress) error {
	before, err := b.sampler.settled(ctx)
	if err != nil {
		return err
	}
	err = b.serve(ctx, sys, s, p)

	// Backends report their sessions at their exit at the latest. This wait has its own time limit, since ctx may have ended.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 10*time.Second,
		errors.New("its connections are still open 10s after its end"))
	defer cancel()
	after, settleErr := b.sampler.settled(ctx)
	if settleErr == nil {
		s.Opened = after - before
	}
	return errors.Join(err, settleErr)
}

// serve runs the system under load. When it returns the system's processes are gone.
func (b *bench) serve(ctx context.Context, sys system, s *System, p progress) error {
	addr := b.link.Addr()
	if sys.pgbouncer {
		bouncer, err := startPgbouncer(ctx, addr, b.options.concurrency+10)
		if err != nil {
			return err
		}
		defer bouncer.stop()
		addr = bouncer.addr
	}
	fn, err := startFunction(ctx, sys, b.options, addr)
	if err != nil {
		return err
	}
	defer fn.shutdown()

	recording := b.sampler.record(ctx, fn.inFlight)
	update, stop := p.start(sys.name, b.options.requests)
	l := load{
		requests: b.options.requests,
		clients:  b.options.clients,
		pause:    retryPause(b.options.hold),
		invoke:   fn.invoke,
		progress: update,
	}
	out := l.run(ctx)
	stop()
	samples, gap, err := recording.finish(out.start)
	s.fill(out, samples, gap)
	s.InFlight, s.Environments = fn.peakInFlight(), fn.started()
	switch {
	case err != nil:
		return fmt.Errorf("sampler: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %d of %d requests completed", context.Cause(ctx), s.Completed, l.requests)
	case s.Failed > 0:
		return fmt.Errorf("%d of %d requests failed, one of them with: %w%s", s.Failed, l.requests, out.firstFailure, fn.wrote())
	}
	return nil
}

// databaseURL returns the connection string for the handler.
func databaseURL(sys system, addr string) string {
	q := url.Values{"sslmode": {"disable"}}
	if sys.pgbouncer {
		q.Set("default_query_exec_mode", pgbouncerExecMode.String())
	}
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: addr, Path: demoDatabase, RawQuery: q.Encode()}
	return u.String()
}
