package status_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/status"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// watched returns a page that shows a pool, and the pool.
func watched(t *testing.T) (*status.Page, *lmipool.Pool) {
	t.Helper()
	page := status.New(status.Options{Title: "<script>alert(1)</script>"})
	db, err := lmipool.Open(t.Context(), pgtest.Database(t), &lmipool.Config{Observers: []any{page}, MaxConns: 4})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	page.Watch(db)
	return page, db
}

// get asks page like a client on this machine does, but for what change does to the request.
func get(page http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080"+path, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	return w
}

type snapshot struct {
	ID      string
	Pool    struct{ Limit, Acquired_Conns int } //nolint:revive // as in the JSON
	Handler struct{ Overruns int }
	Slowest []struct{ Text, How string }
	Holders []struct{ Doing string }
	Events  []struct{ What, Text string }

	Statements int
}

func snapshots(t *testing.T, page http.Handler) (all []snapshot) {
	t.Helper()
	w := get(page, "/snapshot.json")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
	return all
}

func TestASnapshotHasWhatHappened(t *testing.T) {
	page, db := watched(t)
	_, err := db.Exec(t.Context(), "select pg_sleep(0.05), 'hunter2', $1::text", "hunter3")
	require.NoError(t, err)
	lease, err := db.Acquire(t.Context())
	require.NoError(t, err)
	_, err = lease.Exec(t.Context(), "select 'hunter2'")
	require.NoError(t, err)
	ctx, scope := db.OpenScope(t.Context(), "invocation", time.Now().Add(time.Minute))
	_, err = db.Acquire(ctx)
	require.NoError(t, err)
	scope.End()

	all := snapshots(t, page)
	require.Len(t, all, 1)
	s := all[0]
	assert.True(t, strings.HasPrefix(s.ID, "lmipool/"), s.ID)
	assert.Equal(t, 1, s.Pool.Acquired_Conns)
	assert.Equal(t, 2, s.Statements)
	require.NotEmpty(t, s.Slowest)
	assert.Equal(t, "select pg_sleep(?), ?, $1::text", s.Slowest[0].Text)
	assert.NotEmpty(t, s.Slowest[0].How)
	require.Len(t, s.Holders, 1)
	assert.Equal(t, "select ?", s.Holders[0].Doing)
	var what []string
	for _, e := range s.Events {
		what = append(what, e.What)
	}
	assert.Contains(t, what, "leak")
	assert.NotContains(t, get(page, "/snapshot.json").Body.String(), "hunter", "a literal or an argument")
	lease.Release()
}

func TestOnlyThisMachineSeesThePage(t *testing.T) {
	page, _ := watched(t)
	for name, change := range map[string]func(*http.Request){
		"a client elsewhere":                  func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1234" },
		"another site's name for this host":   func(r *http.Request) { r.Host = "evil.example:8080" },
		"a name that begins like a loopback":  func(r *http.Request) { r.Host = "127.0.0.1.evil.example" },
		"localhost as a part of another name": func(r *http.Request) { r.Host = "localhost.evil.example" },
		"no name":                             func(r *http.Request) { r.Host = "" },
		"no client":                           func(r *http.Request) { r.RemoteAddr = "" },
	} {
		for _, path := range []string{"/", "/snapshot.json"} {
			w := get(page, path, change)
			assert.Equal(t, http.StatusForbidden, w.Code, "%s: %s", name, path)
			assert.Less(t, w.Body.Len(), 200, name)
		}
	}
	for _, host := range []string{"localhost:1", "LOCALHOST", "127.0.0.1", "127.1.2.3:8080", "[::1]:8080", "[::1]"} {
		assert.Equal(t, http.StatusOK, get(page, "/", func(r *http.Request) { r.Host = host }).Code, host)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, get(page, "/", func(r *http.Request) { r.Method = http.MethodPost }).Code)
	assert.Equal(t, http.StatusNotFound, get(page, "/other").Code)
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.7:0", "[::]:0", "db.example:0"} {
		_, err := page.Start(t.Context(), addr)
		assert.ErrorContains(t, err, addr)
	}
	_, err := page.Start(t.Context(), "8080")
	assert.ErrorContains(t, err, `"8080": want host:port`)
}

func TestOnLambdaThePageIsRefused(t *testing.T) {
	page, _ := watched(t)
	t.Setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
	t.Setenv("LMIPOOL_STATUS_SOCKET", "/tmp/any")
	assert.Equal(t, http.StatusForbidden, get(page, "/").Code)
	remote := status.New(status.Options{AllowRemote: true})
	assert.Equal(t, http.StatusOK, get(remote, "/", func(r *http.Request) { r.Host, r.RemoteAddr = "app.example", "192.0.2.7:1" }).Code)
}

func TestThePageIsEscapedAndLoadsNothing(t *testing.T) {
	page, _ := watched(t)
	w := get(page, "/")
	text := w.Body.String()
	assert.NotContains(t, text, "<script>alert")
	assert.Equal(t, strings.Count(text, "http://www.w3.org/2000/svg"), strings.Count(text, "http://"), "only the name of SVG")
	assert.NotContains(t, text, "https://")
	assert.NotContains(t, text, "innerHTML")
	policy := w.Header().Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
	assert.NotEqual(t, policy, get(page, "/").Header().Get("Content-Security-Policy"), "a nonce is used once")
}

func TestAnotherProcessIsShownThroughItsSocket(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LMIPOOL_STATUS_SOCKET", dir)
	dsn := pgtest.Database(t)
	for range 2 {
		db, err := lmipool.Open(t.Context(), dsn, nil)
		require.NoError(t, err)
		defer db.Close()
		require.NoError(t, db.Ping(t.Context()))
	}
	page := status.New(status.Options{Socket: dir})
	all := snapshots(t, page)
	require.Len(t, all, 2)
	assert.NotEqual(t, all[0].ID, all[1].ID)

	socket := filepath.Join(dir, "one")
	t.Setenv("LMIPOOL_STATUS_SOCKET", socket)
	db, err := lmipool.Open(t.Context(), dsn, nil)
	require.NoError(t, err)
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	one := status.New(status.Options{Socket: socket})
	require.Len(t, snapshots(t, one), 1)
	_, err = lmipool.Open(t.Context(), dsn, nil)
	require.ErrorContains(t, err, "LMIPOOL_STATUS_SOCKET is", "somebody listens there")
	assert.True(t, lmipool.Misconfigured(err))
	db.Close()
	assert.Equal(t, http.StatusServiceUnavailable, get(one, "/snapshot.json").Code, "a closed pool is shown no more")

	require.NoError(t, os.WriteFile(socket, []byte("mine"), 0o600))
	_, err = lmipool.Open(t.Context(), dsn, nil)
	require.ErrorContains(t, err, socket, "a file that is no socket stays")
	text, err := os.ReadFile(socket)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(text))
}

func TestStartServesUntilItsCtxEnds(t *testing.T) {
	page, _ := watched(t)
	ctx, stop := context.WithCancel(t.Context())
	url, err := page.Start(ctx, ":0")
	require.NoError(t, err)
	r, err := http.Get(url + "snapshot.json") //nolint:noctx // a test
	require.NoError(t, err)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	_ = r.Body.Close()
	assert.Equal(t, http.StatusOK, r.StatusCode)
	assert.True(t, json.Valid(body))
	stop()
	require.Eventually(t, func() bool {
		r, err := http.Get(url) //nolint:noctx // a test
		if err == nil {
			_ = r.Body.Close()
		}
		return err != nil
	}, 10*time.Second, 10*time.Millisecond)
}
