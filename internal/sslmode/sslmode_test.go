package sslmode_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/sslmode"
)

func parse(t *testing.T, dsn string) *pgconn.Config {
	t.Helper()
	c, err := pgconn.ParseConfig(dsn)
	require.NoError(t, err)
	return c
}

var modes = []sslmode.Mode{
	sslmode.Disable, sslmode.Allow, sslmode.Prefer, sslmode.Require, sslmode.VerifyCA, sslmode.VerifyFull,
}

func TestOfKnowsEachMode(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		for _, hosts := range []string{"a", "a,b", "/run,a", "a,/run"} {
			assert.Equal(t, mode, sslmode.Of(parse(t, "host="+hosts+" sslmode="+string(mode))), "%s %s", hosts, mode)
		}
	}
	assert.Equal(t, sslmode.Prefer, sslmode.Of(parse(t, "host=a")), "pgx's default")
	assert.Empty(t, sslmode.Of(parse(t, "host=/run sslmode=verify-full")))
}

func TestVerifyLeavesNoWeakerCandidate(t *testing.T) {
	t.Parallel()
	for _, mode := range modes[1:] {
		c := parse(t, "host=a,/run,b sslmode="+string(mode))
		sslmode.Verify(c, func(string) bool { return true })
		assert.Equal(t, sslmode.VerifyFull, sslmode.Of(c), mode)
		var hosts []string
		for _, h := range sslmode.Hosts(c) {
			hosts = append(hosts, h.Host)
			if h.TLSConfig != nil {
				assert.Equal(t, h.Host, h.TLSConfig.ServerName)
			}
		}
		assert.Equal(t, []string{"a", "/run", "b"}, compact(hosts), mode)
	}
	c := parse(t, "host=a,b sslmode=prefer")
	sslmode.Verify(c, func(host string) bool { return host == "b" })
	assert.Equal(t, sslmode.Prefer, sslmode.Of(c), "the other host is as it was")
	assert.Len(t, c.Fallbacks, 2)
}

// compact leaves out repetitions: pgx lists a socket twice, for prefer and its fallback.
func compact(hosts []string) (out []string) {
	for _, h := range hosts {
		if len(out) == 0 || out[len(out)-1] != h {
			out = append(out, h)
		}
	}
	return out
}
