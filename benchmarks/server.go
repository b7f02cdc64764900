package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgtest"
)

const (
	database   = "bench"
	nameLength = 32 // an MD5 in hexadecimal
)

// server is a PostgreSQL that is measured, with the one table t. Its connection watch goes to another database, and never through the link, so that
// it does not count as a connection of the measured system.
type server struct {
	pg    *pgtest.Server
	watch *pgx.Conn
}

// quiet keeps PostgreSQL's own background work out of the windows. Instead a vacuum and a checkpoint run before each measurement that writes.
var quiet = map[string]string{"autovacuum": "off", "checkpoint_timeout": "30min", "max_wal_size": "4GB"}

// waitsForDisk has PostgreSQL's defaults for durable writes, which pgtest turns off.
var waitsForDisk = map[string]string{"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}

func startServer(ctx context.Context, settings ...map[string]string) (*server, error) {
	all := map[string]string{}
	for _, m := range settings {
		maps.Copy(all, m)
	}
	pg, err := pgtest.Start(ctx, pgtest.Options{Settings: all})
	if err != nil {
		return nil, err
	}
	s := &server{pg: pg}
	if err := s.fill(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) fill(ctx context.Context) (err error) {
	if s.watch, err = pgx.Connect(ctx, s.pg.ConnString()); err != nil {
		return err
	}
	if _, err := s.watch.Exec(ctx, "create database "+database); err != nil {
		return err
	}
	err = s.within(ctx, func(conn *pgx.Conn) error {
		// The space left free in each page has room for the new version of an updated row, so the table does not grow.
		_, err := conn.Exec(ctx, fmt.Sprintf(`
			create table t (id int primary key, name text not null, n int not null default 0) with (fillfactor = 70);
			insert into t (id, name) select i, md5(i::text) from generate_series(1, %d) i;
			%s insert into touched (id) select id from t`, rowsInTable, schema))
		return err
	})
	if err != nil {
		return err
	}
	return s.tidy(ctx)
}

// within runs f on a connection to the measured database.
func (s *server) within(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, connString(s.pg.Addr()))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(conn)
}

func connString(addr string) string {
	return "postgres://postgres@" + addr + "/" + database + "?sslmode=disable"
}

// tidy removes the dead rows and dirty pages that writes have left.
func (s *server) tidy(ctx context.Context) error {
	return s.within(ctx, func(conn *pgx.Conn) error {
		for _, sql := range []string{"vacuum (analyze) t, touched", "checkpoint"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// backends returns how many connections the measured database has.
func (s *server) backends(ctx context.Context) (n int, err error) {
	err = s.watch.QueryRow(ctx, `select count(*) from pg_stat_activity
		where datname = $1 and backend_type = 'client backend'`, database).Scan(&n)
	return n, err
}

// settled returns when the measured database has no connections any more.
func (s *server) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fmt.Errorf("connections to the server remain after their pool was closed"))
	defer cancel()
	for {
		n, err := s.backends(ctx)
		if err != nil || n == 0 {
			return err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// writeTime returns how long one small write takes when nothing else runs: the median of some writes.
func (s *server) writeTime(ctx context.Context) (ms figure, err error) {
	err = s.within(ctx, func(conn *pgx.Conn) error {
		var took []float64
		for id := range 50 {
			began := time.Now()
			if _, err := conn.Exec(ctx, "update t set n = n + 1 where id = $1", id+1); err != nil {
				return err
			}
			took = append(took, time.Since(began).Seconds()*1e3)
		}
		ms = median(took)
		return nil
	})
	return ms, err
}

// version returns the server's version, and the settings that it was started with, without paths of this machine.
func (s *server) version(ctx context.Context) (version string, settings map[string]string, err error) {
	if err := s.watch.QueryRow(ctx, "show server_version").Scan(&version); err != nil {
		return "", nil, err
	}
	shown := append(slices.Collect(maps.Keys(waitsForDisk)), slices.Collect(maps.Keys(quiet))...)
	shown = append(shown, "max_connections", "shared_buffers")
	settings = map[string]string{}
	for _, name := range shown {
		var value string
		if err := s.watch.QueryRow(ctx, "select current_setting($1)", name).Scan(&value); err != nil {
			return "", nil, err
		}
		settings[name] = value
	}
	return version, settings, nil
}

func (s *server) stop() {
	if s.watch != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.watch.Close(ctx) // the server ends next
	}
	s.pg.Stop()
}
