package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/child"
)

// Cluster is a writer and a streaming standby, on one port of two loopback addresses, so that a name can lead to
// either. Its methods are for one goroutine.
type Cluster struct {
	Writer, Standby *Server

	bin string
	o   Options
	log map[*Server]io.Writer
}

// StartCluster starts a writer and a standby, and returns when the standby streams. It needs a loopback that answers to
// 127.0.0.2 and 127.0.0.3, as Linux's does.
func StartCluster(ctx context.Context, o Options) (*Cluster, error) {
	bin, err := binaries(ctx, o.Version)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	sweep()
	for range portTries {
		c := &Cluster{bin: bin, o: o, log: make(map[*Server]io.Writer)}
		if err = c.start(ctx); err == nil {
			return c, nil
		}
		err = fmt.Errorf("pgtest: cluster: %w%s%s", err, c.Writer.logTail(), c.Standby.logTail())
		c.Stop()
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, err
}

func (c *Cluster) start(ctx context.Context) error {
	c.Writer, c.Standby = &Server{host: "127.0.0.2"}, &Server{host: "127.0.0.3"}
	port, err := freePort()
	if err != nil {
		return err
	}
	for _, s := range []*Server{c.Writer, c.Standby} {
		s.port = port
		if s.dir, err = makeDir(); err != nil {
			return err
		}
		if c.log[s], err = s.openLog(c.o); err != nil {
			return err
		}
	}
	w, log := c.Writer, c.log[c.Writer]
	err = run(ctx, child.Command(filepath.Join(c.bin, "initdb"), w.dir, log, deathSignal,
		"-D", w.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"))
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	// The writer has not been started yet, so a copy of its files is as good as a base backup.
	err = run(ctx, child.Command("/bin/cp", w.dir, log, syscall.SIGKILL, "-a", w.data(), c.Standby.data()))
	if err != nil {
		return fmt.Errorf("cp: %w", err)
	}
	if err := c.run(ctx, w, ""); err != nil {
		return err
	}
	if err := c.join(ctx, c.Standby, w); err != nil {
		return err
	}
	return c.CatchUp(ctx)
}

// run starts s. If primary is not "", s is a standby of the server that primary names.
func (c *Cluster) run(ctx context.Context, s *Server, primary string) (err error) {
	settings := map[string]string{"primary_conninfo": primary, "wal_retrieve_retry_interval": "100ms"}
	maps.Copy(settings, c.o.Settings)
	s.proc, err = child.Start(child.Command(filepath.Join(c.bin, "postgres"), s.dir, c.log[s], deathSignal, s.arguments(settings)...))
	if err != nil {
		return err
	}
	return s.ready(ctx)
}

// join starts s as a standby of w.
func (c *Cluster) join(ctx context.Context, s, w *Server) error {
	signal := filepath.Join(s.data(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return err
	}
	if u := child.Unprivileged(); u != nil {
		if err := os.Chown(signal, int(u.Uid), int(u.Gid)); err != nil {
			return err
		}
	}
	return c.run(ctx, s, fmt.Sprintf("host=%s port=%s user=postgres", w.host, w.port))
}

// CatchUp waits until the standby has all that was committed at the writer. A commit there does not wait for its WAL
// (synchronous_commit=off), and pg_current_wal_lsn shows only written WAL. So CatchUp first makes a commit that waits.
func (c *Cluster) CatchUp(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.Writer.ConnString())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "set synchronous_commit = on; select pg_logical_emit_message(true, '', '')"); err != nil {
		return err
	}
	for caughtUp := false; !caughtUp; {
		err := conn.QueryRow(ctx, `select exists(select from pg_stat_replication where state = 'streaming'
			and replay_lsn >= pg_current_wal_lsn()), pg_sleep(0.01)::text`).Scan(&caughtUp, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// StopWriter stops the writer with a fast shutdown: its sessions end with 57P01, and the standby gets all acknowledged commits.
func (c *Cluster) StopWriter() { c.Writer.proc.End(syscall.SIGINT) }

// Promote makes the standby the writer, and returns when it accepts writes. The old writer must have been stopped. It is
// the Standby from then on.
func (c *Cluster) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.Standby.ConnString())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "select pg_promote(true, 20)"); err != nil {
		return err
	}
	c.Writer, c.Standby = c.Standby, c.Writer
	return nil
}

// Rejoin starts the old writer as a standby, and returns when it accepts connections. If stream is true, Rejoin also waits
// until it streams from the new writer.
func (c *Cluster) Rejoin(ctx context.Context, stream bool) error {
	if err := c.join(ctx, c.Standby, c.Writer); err != nil || !stream {
		return err
	}
	return c.CatchUp(ctx)
}

// Stop calls [Server.Stop] for both servers.
func (c *Cluster) Stop() {
	c.Standby.Stop()
	c.Writer.Stop()
}
