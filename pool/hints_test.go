package pool_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/tlstest"
	"github.com/lmipool/lmipool/pool"
)

// What a failed dial advises is about what has failed.
func TestWhatAFailedDialAdvises(t *testing.T) {
	t.Parallel()
	const tls, none = "does not speak TLS", "no password was given"
	hba := "host all postgres all trust\nhost all app all scram-sha-256\nhost all old all md5\n"
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: map[string]string{"hba_file": tlstest.File(t, []byte(hba))}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	i := newInspector(t, server.ConnString())
	i.exec("create role app login password 'right'; set password_encryption = 'md5'; create role old login password 'right'")
	for name, c := range map[string]struct {
		user                *url.Userinfo
		path, mode          string
		advises, advisesNot string
	}{
		"TLS was meant":                    {user: url.User("postgres"), mode: "require", advises: tls},
		"TLS was verified":                 {user: url.User("postgres"), mode: "verify-full", advises: tls},
		"the database, and TLS if need be": {user: url.User("postgres"), path: "/none", mode: "prefer", advisesNot: tls},
		"the user, and TLS if need be":     {user: url.User("stranger"), mode: "prefer", advisesNot: tls},
		"the user, and plain text first":   {user: url.User("stranger"), mode: "allow", advisesNot: tls},
		"the user, in plain text":          {user: url.User("stranger"), mode: "disable", advisesNot: none},
		"no password":                      {user: url.User("app"), mode: "disable", advises: none},
		"no password, and TLS if need be":  {user: url.User("app"), mode: "prefer", advises: none},
		"no password for md5":              {user: url.User("old"), mode: "disable", advises: none},
		"a wrong password":                 {user: url.UserPassword("app", "wrong"), mode: "disable", advisesNot: none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPoolAt(t, dsnWith(t, server.ConnString(), func(u *url.URL) {
				u.User, u.RawQuery = c.user, "sslmode="+c.mode
				if c.path != "" {
					u.Path = c.path
				}
			}), &pool.Config{Logger: (&logs{}).logger()})
			err := p.Ping(bounded(t))
			require.Error(t, err)
			if c.advises != "" {
				assert.ErrorContains(t, err, c.advises)
			}
			if c.advisesNot != "" {
				assert.NotContains(t, err.Error(), c.advisesNot)
			}
			assert.Equal(t, misconfigured, next(t, err))
		})
	}
}
