package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/child"
)

// pgbouncerExecMode is pgx's query mode with PgBouncer. In transaction mode, before PgBouncer 1.21, a statement that was prepared on one server
// connection is unknown on the next, so nothing may be prepared by name.
const pgbouncerExecMode = pgx.QueryExecModeExec

// pgbouncerOptions are the options of the original experiment. The pool size is PgBouncer's own default, 20.
const pgbouncerOptions = `pool_mode = transaction
server_reset_query = DISCARD ALL
server_reset_query_always = 1`

var errNoPgbouncer = errors.New("no pgbouncer here; apt-get install pgbouncer (macOS: brew install pgbouncer) gets it")

// pgbouncer is a PgBouncer that belongs to this process.
type pgbouncer struct {
	addr string
	proc *child.Process
	log  *child.Tail
}

// findPgbouncer returns the path of PgBouncer's program. It also looks where Debian puts it, since only root's PATH has that directory.
func findPgbouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoPgbouncer
}

// pgbouncerVersion returns what PgBouncer prints for --version, or the error as text.
func pgbouncerVersion(ctx context.Context) string {
	path, err := findPgbouncer()
	if err != nil {
		return "not installed"
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "version unknown: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "PgBouncer ")
}

// startPgbouncer starts a PgBouncer in front of the database at target and returns when it listens.
func startPgbouncer(ctx context.Context, target string, clients int) (b *pgbouncer, err error) {
	path, err := findPgbouncer()
	if err != nil {
		return nil, err
	}
	const tries = 3 // another process may take the port after freeAddr has found it free and before PgBouncer listens
	for range tries {
		if b, err = tryPgbouncer(ctx, path, target, clients); err == nil || ctx.Err() != nil {
			break
		}
	}
	return b, err
}

func tryPgbouncer(ctx context.Context, path, target string, clients int) (*pgbouncer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	// os.TempDir may be a directory that others cannot enter. If we are root, PgBouncer runs as the user nobody.
	dir, err := os.MkdirTemp("/tmp", "lmipool-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // PgBouncer reads its file once, before it listens
	ini := filepath.Join(dir, "pgbouncer.ini")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(ini, pgbouncerConfig(addr, target, clients), 0o644)); err != nil {
		return nil, err
	}
	log := &child.Tail{}
	proc, err := child.Start(child.Command(path, "/", log, syscall.SIGKILL, ini))
	if err != nil {
		return nil, fmt.Errorf("pgbouncer: %w", err)
	}
	b := &pgbouncer{addr: addr, proc: proc, log: log}
	if err := b.ready(ctx); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// pgbouncerConfig returns PgBouncer's configuration. With auth_type any PgBouncer logs in as the user that the first section names.
func pgbouncerConfig(addr, target string, clients int) []byte {
	_, port, _ := net.SplitHostPort(addr)
	host, serverPort, _ := net.SplitHostPort(target)
	return fmt.Appendf(nil, `[databases]
%s = host=%s port=%s user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
max_client_conn = %d
%s
`, demoDatabase, host, serverPort, port, clients, pgbouncerOptions)
}

// ready waits until PgBouncer accepts connections.
func (b *pgbouncer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		select {
		case <-b.proc.Exited():
			return fmt.Errorf("pgbouncer ended before it listened (%v): %s", b.proc.Cmd.ProcessState, strings.TrimSpace(b.log.String()))
		default:
		}
		if conn, err := net.DialTimeout("tcp", b.addr, time.Second); err == nil {
			return conn.Close()
		}
		if !sleep(ctx, 5*time.Millisecond) {
			return fmt.Errorf("pgbouncer does not listen: %w: %s", context.Cause(ctx), strings.TrimSpace(b.log.String()))
		}
	}
}

func (b *pgbouncer) stop() { b.proc.End(syscall.SIGKILL) }

// freeAddr returns a loopback address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
