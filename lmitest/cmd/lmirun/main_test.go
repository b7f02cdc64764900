package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/pgtest"
)

// The test binary is also the handler, and lmirun itself where a test needs it as a process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "handler":
			lambda.Start(handle)
		case "lmirun":
			os.Args = os.Args[1:]
			main()
		}
	}
	code := pgtest.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

type event struct{ Do, DSN, Address string }

func handle(ctx context.Context, e event) (string, error) {
	switch e.Do {
	case "fail":
		return "", errors.New("as asked")
	case "wait": // for the deadline
		<-ctx.Done()
		time.Sleep(time.Hour)
	case "exit":
		fmt.Println("bye")
		os.Exit(5)
	case "connect": // one connection per call, as a Lambda without a pool
		conn, err := pgx.Connect(ctx, e.DSN)
		if err != nil {
			return "", err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "select 1")
		return "done", err
	case "hold": // a connection to the test, which ends with this process
		c, err := net.Dial("tcp", e.Address)
		if err != nil {
			return "", err
		}
		_, err = c.Read(make([]byte, 1))
		return "", err
	}
	return "hello from " + os.Getenv("GREETER"), nil
}

type output struct {
	code           int
	stdout, stderr string
}

// lmirun runs the command in this process.
func lmirun(t *testing.T, stdin string, args ...string) output {
	t.Helper()
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	require.NoError(t, err)
	defer stderr.Close()
	var stdout bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, stderr)
	said, err := os.ReadFile(stderr.Name())
	require.NoError(t, err)
	return output{code, stdout.String(), string(said)}
}

func self() []string { return []string{os.Args[0], "handler"} }

func with(flags ...string) []string { return append(flags, self()...) }

func TestOneEventPrintsTheReply(t *testing.T) {
	t.Parallel()
	o := lmirun(t, "", with("-env", "GREETER=Ada")...)
	require.Equal(t, "\"hello from Ada\"\n", o.stdout)
	require.Contains(t, o.stderr, "reply after")
	require.Equal(t, exitOK, o.code)
}

func TestAFailedEventPrintsTheErrorAndFails(t *testing.T) {
	t.Parallel()
	o := lmirun(t, `{"Do":"fail"}`, with("-e", "-")...)
	require.JSONEq(t, `{"errorMessage":"as asked","errorType":"errorString"}`, o.stdout)
	require.Contains(t, o.stderr, "failed: errorString: as asked")
	require.Equal(t, exitFailed, o.code)
}

func TestALoadIsSummedUp(t *testing.T) {
	t.Parallel()
	o := lmirun(t, "", with("-n", "200", "-clients", "12", "-c", "8")...)
	require.Equal(t, exitOK, o.code, o)
	require.Contains(t, o.stdout, "200 ok, 0 function errors, 0 timeouts, 0 other errors, 0 throttled for good")
	require.Regexp(t, `latency +p50 \S+  p90 \S+  p99 \S+  max \S+`, o.stdout)
	require.Regexp(t, `[\d.]+ requests/s, 200 in \S+, at most [1-8] at once`, o.stdout)
	require.Regexp(t, `throttled +[1-9]\d* times`, o.stdout) // 12 clients do not fit
	require.Contains(t, o.stdout, "1 started, 0 ended by themselves, 0 reset; 0 late replies")
	require.Empty(t, o.stderr) // it is no terminal
}

func TestFailuresAreCountedByKind(t *testing.T) {
	t.Parallel()
	o := lmirun(t, `{"Do":"fail"}`, with("-e", "-", "-n", "5", "-c", "2")...)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "0 ok, 5 function errors")
	require.Contains(t, o.stdout, "5 × errorString: as asked")
	require.Contains(t, o.stderr, "-v also shows what the handler writes")

	o = lmirun(t, `{"Do":"wait"}`, with("-e", "-", "-n", "2", "-c", "2", "-timeout", "50ms")...)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "2 timeouts")
	require.Contains(t, o.stdout, "2 × Sandbox.Timedout: Task timed out after 0.05 seconds")

	o = lmirun(t, `{"Do":"exit"}`, with("-e", "-", "-n", "2", "-clients", "1", "-kind", "on-demand")...)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "2 other errors")
	require.Contains(t, o.stdout, "2 started, 2 ended by themselves")
	require.Contains(t, o.stdout, "the last one: exit status 5")
	require.Contains(t, o.stderr, "bye")
}

func TestErrorsThatDifferInATimeOrAnIDAreOne(t *testing.T) {
	t.Parallel()
	require.Equal(t, "OverrunError: the handler did not return within …; 3 rows of 5.9 MB",
		alike("OverrunError: the handler did not return within 911ms; 3 rows of 5.9 MB"))
	require.Equal(t, "held … by request …", alike("held 1m3.4s by request 8f3a0d2c-b9ee-42be-826f-5026242573e5"))
	require.Equal(t, "exit status 5", alike("RequestId: 8f3a0d2c-b9ee-42be-826f-5026242573e5 Error: exit status 5"))
}

func TestABinaryThatIsNoHandlerFails(t *testing.T) {
	t.Parallel()
	o := lmirun(t, "", "/bin/sh", "-c", "echo not me >&2; exit 9")
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "exit status 9")
	require.Contains(t, o.stderr, "not me")
}

func TestMistakesInTheFlagsAreExplained(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`invalid value "0" for flag -c: want a whole number from 1 to 1600`:     {"-c", "0", "x"},
		`invalid value "many" for flag -n: want a whole number from 1 to`:       {"-n", "many", "x"},
		`invalid value "3" for flag -timeout: want a duration such as 500ms`:    {"-timeout", "3", "x"},
		`invalid value "lmi" for flag -kind: want lambda-managed-instances, on`: {"-kind", "lmi", "x"},
		`invalid value "2" for flag -c: want 1 with -kind on-demand`:            {"-c", "2", "-kind", "on-demand", "x"},
		`invalid value "A" for flag -env: want NAME=value`:                      {"-env", "A", "x"},
		`invalid value "-" for flag -e: not JSON (4 bytes)`:                     {"-e", "-", "x"},
		`flag -clients 2: want -n with it`:                                      {"-clients", "2", "x"},
		`the function's binary: exec: "./bootstrapp": `:                         {"./bootstrapp"},
		`which binary?`: {"-n", "3"},
	} {
		o := lmirun(t, "oops", args...)
		require.Equal(t, exitUsage, o.code)
		require.Contains(t, o.stderr, want)
	}
	o := lmirun(t, "", "-h")
	require.Equal(t, exitOK, o.code)
	require.Equal(t, usage, o.stdout)
}

func TestADatabaseThatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	o := lmirun(t, "", with("-dsn", "postgres://me:secret@127.0.0.1:1/app?connect_timeout=2")...)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "flag -dsn: ")
	require.NotContains(t, o.stderr, "secret")
	o = lmirun(t, "", with("-dsn", "postgres://me:sec@ret@127.0.0.1:1/app?connect_timeout=2")...)
	require.Contains(t, o.stderr, "flag -dsn: the connection string has an @ in its host")
	require.NotContains(t, o.stderr, "ret@")
}

var connections = regexp.MustCompile(`connections +at most (\d+) at once, (\d+) opened in all; database \S+`)

func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	other, err := pgx.Connect(t.Context(), dsn) // was there before: does not count
	require.NoError(t, err)
	defer other.Close(context.Background())

	o := lmirun(t, fmt.Sprintf(`{"Do":"connect","DSN":%q}`, dsn), with("-e", "-", "-n", "50", "-c", "3", "-dsn", dsn)...)
	require.Equal(t, exitOK, o.code, o)
	m := connections.FindStringSubmatch(o.stdout)
	require.NotNil(t, m, o.stdout)
	peak, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	require.LessOrEqual(t, peak, 3*5) // those that their clients have closed may still be there, more of them on a busy machine
	require.Equal(t, "50", m[2])
}

// An ordinary role cannot see what other roles do. Their connections do not count.
func TestAnOrdinaryRoleCountsItsOwnConnections(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	own, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer own.Close(context.Background())
	_, err = own.Exec(t.Context(), "create role lmirun_ordinary login")
	require.NoError(t, err)
	defer func() {
		_, err := own.Exec(context.Background(), "drop role lmirun_ordinary")
		require.NoError(t, err)
	}()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	u.User = url.User("lmirun_ordinary")
	busy, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for range 3 { // another role's connections come and go all the time
		others.Go(func() {
			for busy.Err() == nil {
				if c, err := pgx.Connect(busy, dsn); err == nil {
					_, _ = c.Exec(busy, "select pg_sleep(0.02)")
					_ = c.Close(context.Background())
				}
			}
		})
	}
	o := lmirun(t, fmt.Sprintf(`{"Do":"connect","DSN":%q}`, u.String()), with("-e", "-", "-n", "20", "-c", "1", "-dsn", u.String())...)
	require.Equal(t, exitOK, o.code, o)
	m := regexp.MustCompile(`connections +at most (\d+) at once, at least (\d+) opened in all, of role lmirun_ordinary only \(it needs pg_read_all_stats to see those of others\); database \S+\n`).FindStringSubmatch(o.stdout)
	require.NotNil(t, m, o.stdout)
	peak, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	require.LessOrEqual(t, peak, 4) // some that their client has closed may still be there
	opened, err := strconv.Atoi(m[2])
	require.NoError(t, err)
	require.LessOrEqual(t, opened, 20)
}

func TestAnInterruptEndsEverything(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cmd := exec.Command(os.Args[0], append([]string{"lmirun"}, with("-e", "-", "-timeout", "1h")...)...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"Do":"hold","Address":%q}`, l.Addr()))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	handler, err := l.Accept()
	require.NoError(t, err)
	defer handler.Close()

	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, exitInterrupted, exit.ExitCode())
	require.Contains(t, stderr.String(), "interrupted")
	_, err = handler.Read(make([]byte, 1))
	require.Error(t, err) // the handler is gone
}
