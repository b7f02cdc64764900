package pool_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

var hasID = regexp.MustCompile(`^lmipool/[0-9a-z]{8}/`)

// Whoever names the connections, and in whatever way, the pool's id stays in front.
func TestTheNameBeginsWithThePoolsID(t *testing.T) {
	t.Parallel()
	rename := func(c *pgconn.PgConn) error {
		_, err := c.Exec(context.Background(), "set application_name = 'mine'").ReadAll()
		return err
	}
	for way, w := range map[string]struct {
		dsn, want string
		config    pool.Config
		change    func(*pgx.ConnConfig)
	}{
		"nobody":                    {want: ""},
		"ApplicationName":           {want: "mine", config: pool.Config{ApplicationName: "mine"}},
		"the connection string":     {want: "mine", dsn: "&application_name=mine", config: pool.Config{ApplicationName: "not mine"}},
		"an empty name":             {want: "mine", dsn: "&application_name=", config: pool.Config{ApplicationName: "mine"}},
		"options":                   {want: "mine", dsn: "&options=-c%20application_name%3Dyours", config: pool.Config{ApplicationName: "mine"}},
		"a long name":               {want: strings.Repeat("n", 46), config: pool.Config{ApplicationName: strings.Repeat("n", 64)}},
		"another pool's name":       {want: "mine", config: pool.Config{ApplicationName: "lmipool/ffffffff/mine"}},
		"BeforeConnect":             {want: "mine", change: func(c *pgx.ConnConfig) { c.RuntimeParams["application_name"] = "mine" }},
		"BeforeConnect's other map": {want: "", config: pool.Config{ApplicationName: "x"}, change: func(c *pgx.ConnConfig) { c.RuntimeParams = nil }},
		"pgconn's AfterConnect": {want: "mine", change: func(c *pgx.ConnConfig) {
			c.Config.AfterConnect = func(_ context.Context, c *pgconn.PgConn) error { return rename(c) }
		}},
		"AfterConnect": {want: "mine", config: pool.Config{
			AfterConnect: func(_ context.Context, c *pgx.Conn) error { return rename(c.PgConn()) },
		}},
	} {
		for _, mode := range []pool.Switch{pool.Auto, pool.Off, "plain"} {
			if mode == "plain" && strings.Contains(way, "AfterConnect") {
				continue // what AfterConnect sets stays as it is
			}
			t.Run(way+", isolation "+string(mode), func(t *testing.T) {
				t.Parallel()
				ctx := bounded(t)
				c := w.config
				c.Isolation, c.MaxConns = mode, 1
				if mode == "plain" {
					c.Isolation, c.Plain = pool.Off, pool.On
				}
				if w.change != nil {
					c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { w.change(c); return nil }
				}
				p := newPoolAt(t, pgtest.Database(t)+w.dsn, &c)
				shown := p.Config().ApplicationName
				assert.Regexp(t, hasID, shown)
				id := hasID.FindString(shown)
				name := func() (name string) {
					require.NoError(t, p.QueryRow(ctx, "select application_name from pg_stat_activity where pid = pg_backend_pid()").Scan(&name))
					return name
				}
				assert.Equal(t, id+w.want, name())
				if mode == "plain" {
					return
				}
				_, err := p.Exec(ctx, "set application_name = 'his'")
				require.NoError(t, err)
				want := id + w.want // what an invocation has set is reset
				if mode == pool.Off {
					want = id + "his"
				}
				assert.Equal(t, want, name(), "after a user's SET")
				_, err = p.Exec(ctx, "reset application_name")
				require.NoError(t, err)
				assert.Regexp(t, "^"+id, name(), "after a user's RESET")
				require.NoError(t, p.With(map[string]string{"Application_Name": "tenant"}).
					QueryRow(ctx, "select application_name from pg_stat_activity where pid = pg_backend_pid()").Scan(&shown))
				assert.Equal(t, id+"tenant", shown)
				assert.Equal(t, int64(1), p.Stat().NewConnsCount())
			})
		}
	}
}

func TestPGAPPNAMEHasTheIDInFront(t *testing.T) {
	t.Setenv("PGAPPNAME", "mine")
	p := newPoolAt(t, pgtest.Database(t), &pool.Config{ApplicationName: "not mine"})
	var name string
	require.NoError(t, p.QueryRow(bounded(t), "show application_name").Scan(&name))
	assert.Regexp(t, hasID.String()+"mine$", name)
	assert.Equal(t, p.Config().ApplicationName, name)
}

func TestEachPoolHasAnID(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	a := newPoolAt(t, dsn, &pool.Config{ApplicationName: "x"})
	b := newPoolAt(t, dsn, a.Config())
	assert.NotEqual(t, a.Config().ApplicationName, b.Config().ApplicationName)
	assert.Regexp(t, hasID.String()+"x$", b.Config().ApplicationName)
}
