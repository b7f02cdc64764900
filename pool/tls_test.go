package pool_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/child"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// startTLS starts a server that offers TLS, with a certificate that is thrown away
// with it.
func startTLS(t *testing.T) *pgtest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)

	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		if c := child.Unprivileged(); c != nil { // who runs the server, and must own its key
			require.NoError(t, os.Chown(path, int(c.Uid), int(c.Gid)))
			require.NoError(t, os.Chmod(dir, 0o755))
			require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		}
		return path
	}
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: map[string]string{
		"ssl":           "on",
		"ssl_cert_file": file("cert.pem", "CERTIFICATE", cert),
		"ssl_key_file":  file("key.pem", "PRIVATE KEY", der),
	}})
	if err != nil && strings.Contains(err.Error(), "SSL is not supported by this build") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return server
}

// jammed is a socket whose send buffer is full, once stuck is set.
type jammed struct {
	*net.TCPConn
	stuck    *atomic.Bool
	deadline atomic.Pointer[time.Time]
}

func (j *jammed) SetWriteDeadline(t time.Time) error {
	j.deadline.Store(&t)
	return j.TCPConn.SetWriteDeadline(t)
}

func (j *jammed) Write(b []byte) (int, error) {
	if !j.stuck.Load() {
		return j.TCPConn.Write(b)
	}
	if t := j.deadline.Load(); t != nil && !t.IsZero() {
		time.Sleep(time.Until(*t))
	}
	return 0, os.ErrDeadlineExceeded
}

func TestATLSConnectionIsCutOff(t *testing.T) {
	t.Parallel()
	tls := startTLS(t)
	ctx, server := bounded(t), newInspector(t, tls.ConnString())
	var stuck atomic.Bool
	p := newPoolAt(t, strings.Replace(tls.ConnString(), "sslmode=disable", "sslmode=require", 1), &pool.Config{
		MaxConns: 1,
		Logger:   (&logs{}).logger(),
		BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn {
			stuck.Store(false) // what is dialed next has a network that works
			return &jammed{TCPConn: nc, stuck: &stuck}
		}),
	})
	take := func() (*pool.Scope, *pool.Lease) {
		inv, scope := p.OpenScope(ctx, "", time.Time{})
		l, err := p.Acquire(inv)
		require.NoError(t, err)
		var encrypted bool
		require.NoError(t, l.QueryRow(ctx, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").Scan(&encrypted))
		require.True(t, encrypted)
		return scope, l
	}

	scope, l := take()
	raw, done := l.Conn(), make(chan error, 1)
	go func() {
		_, err := raw.Exec(context.Background(), "select pg_sleep(30)")
		done <- err
	}()
	eventually(t, "it runs", func() bool { return server.running("%pg_sleep(30)") == 1 })
	scope.End()
	assert.Error(t, ends(t, "the statement", done))
	require.NoError(t, p.Ping(ctx))
	assert.Equal(t, 1, server.backends(), "the server has let go of the other")

	// TLS has a word of its own for the end, and takes 5 s to give up saying it.
	scope, l = take()
	l.Conn()
	stuck.Store(true)
	began := time.Now()
	scope.End()
	assert.Less(t, time.Since(began), 2*time.Second, "End does not wait for the network")
	require.NoError(t, p.Ping(ctx))
	assert.Equal(t, 1, server.backends())
}
