package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/connstring"
)

const (
	sampleEvery = 10 * time.Millisecond
	// PostgreSQL adds a session to its statistics up to a second late, and its server processes notice only after some time that a client was killed.
	settleFor   = 5 * time.Second
	settleEvery = 100 * time.Millisecond
)

// database watches the connections to one database, with one connection of its own.
type database struct {
	conn     *pgx.Conn
	name     string
	onlyRole string  // if not "", the only role whose sessions may be seen: that of conn; then no others are counted
	before   []int32 // server processes that were there before: ours, and those of other clients; they are not counted
	sessions int64   // sessions opened before; -1 if PostgreSQL does not count them

	cancel  context.CancelFunc
	stopped chan struct{} // closed: the sampler has ended, and the following are its result
	peak    int
	seen    map[int32]bool
	err     error
}

// watchDatabase connects and starts to sample. close must be called.
func watchDatabase(ctx context.Context, dsn string) (*database, error) {
	config, err := connstring.Parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("flag -dsn: %w", err)
	}
	config.RuntimeParams["application_name"] = "lmirun"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("flag -dsn: %w", err)
	}
	d := &database{conn: conn, stopped: make(chan struct{}), seen: map[int32]bool{}}
	err = conn.QueryRow(ctx, `select current_database(), array_agg(pid),
			case when current_setting('is_superuser') = 'off' and not pg_has_role('pg_read_all_stats', 'usage') then current_user else '' end
		from pg_stat_activity where datname = current_database()`).Scan(&d.name, &d.before, &d.onlyRole)
	if err == nil {
		d.sessions, err = d.settledSessions(ctx)
	}
	if err != nil {
		d.disconnect()
		return nil, fmt.Errorf("flag -dsn: %w", err)
	}
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go d.sample(ctx)
	return d, nil
}

// sample is the sampler's goroutine.
func (d *database) sample(ctx context.Context) {
	defer close(d.stopped)
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		pids, err := d.pids(context.WithoutCancel(ctx)) // a cancelled query would close the connection
		if err != nil {
			d.err = err
			return
		}
		d.peak = max(d.peak, len(pids))
		for _, pid := range pids {
			d.seen[pid] = true
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// pids returns the server processes that started since the sampling began. If we may not see other roles' sessions, their backend_type is null, and they
// are not counted: nobody knows whether they are the function's.
func (d *database) pids(ctx context.Context) (pids []int32, err error) {
	err = d.conn.QueryRow(ctx, `select coalesce(array_agg(pid), '{}') from pg_stat_activity
		where datname = current_database() and pid <> all ($1) and backend_type = 'client backend'`,
		d.before).Scan(&pids)
	return pids, err
}

// settledSessions returns the number of sessions ever opened, once it stops growing, or -1 before PostgreSQL 14, and if only one role's may be seen, since
// the number has those of all roles.
func (d *database) settledSessions(ctx context.Context) (int64, error) {
	if d.onlyRole != "" {
		return -1, nil
	}
	var version int
	err := d.conn.QueryRow(ctx, "select current_setting('server_version_num')::int").Scan(&version)
	if err != nil || version < 140000 {
		return -1, err
	}
	last, same := int64(-1), 0
	t := time.NewTicker(settleEvery)
	defer t.Stop()
	for began := time.Now(); time.Since(began) < settleFor; {
		var n int64
		if err := d.conn.QueryRow(ctx, "select sessions from pg_stat_database where datname = current_database()").Scan(&n); err != nil {
			return 0, err
		}
		if n == last {
			same++
		} else {
			last, same = n, 0
		}
		if same >= 3 {
			break
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return last, nil
}

// result stops the sampler, waits for the function's connections to end and describes them.
func (d *database) result(ctx context.Context) (string, error) {
	d.stop()
	if d.err != nil {
		return "", fmt.Errorf("sampling pg_stat_activity: %w", d.err)
	}
	t := time.NewTicker(settleEvery)
	defer t.Stop()
	left := 0
	for began := time.Now(); time.Since(began) < settleFor; {
		pids, err := d.pids(ctx)
		if err != nil {
			return "", err
		}
		if left = len(pids); left == 0 {
			break
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	sessions, err := d.settledSessions(ctx)
	if err != nil {
		return "", err
	}
	opened := fmt.Sprintf("at least %d opened in all (before version 14 PostgreSQL does not count them)", len(d.seen))
	switch {
	case d.onlyRole != "":
		opened = fmt.Sprintf("at least %d opened in all, of role %s only (it needs pg_read_all_stats to see those of others)", len(d.seen), d.onlyRole)
	case sessions >= 0:
		// The statistics may be late, and another client may reset them.
		opened = fmt.Sprintf("%d opened in all", max(sessions-d.sessions, int64(len(d.seen))))
	}
	text := fmt.Sprintf("connections  at most %d at once, %s; database %s", d.peak, opened, d.name)
	if left > 0 {
		text += fmt.Sprintf("; %d still open %v after the function's end", left, settleFor)
	}
	return text, nil
}

func (d *database) stop() {
	d.cancel()
	<-d.stopped
}

func (d *database) close() {
	d.stop()
	d.disconnect()
}

func (d *database) disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = d.conn.Close(ctx) // on the way out
}
