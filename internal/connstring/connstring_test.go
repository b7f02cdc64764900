package connstring_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/connstring"
)

func TestAFaultSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"host=h password=hunter2 pool_max_conns=many":          `cannot parse pool_max_conns (strconv.ParseInt: parsing "many": invalid syntax): want a whole number, 1 or more`,
		"postgres://u:hunter2@h/db?pool_max_conns=many":        `cannot parse pool_max_conns (strconv.ParseInt: parsing "many": invalid syntax): want a whole number, 1 or more`,
		"postgres://u:hunter2@h/db?pool_max_conn_lifetime=1x":  `cannot parse pool_max_conn_lifetime (time: unknown unit "…" in duration "1x"): want a duration with its unit, such as "30s"`,
		"host=h password=hunter2 connect_timeout=soon":         `invalid connect_timeout (strconv.ParseInt: parsing "soon": invalid syntax): want a whole number of seconds`,
		"host=h password=hunter2 sslmode=maybe":                `failed to configure TLS (sslmode is invalid): want disable, allow, prefer, require, verify-ca or verify-full`,
		"host=h password=hunter2 sslcert=c":                    `failed to configure TLS (both "sslcert" and "sslkey" are required)`,
		"host=h password=hunter2 sslcert=c sslkey=/nowhere/it": `failed to configure TLS (unable to read sslkey: open /nowhere/it: no such file or directory)`,
		"host=h password=hunter2 target_session_attrs=some":    `unknown target_session_attrs value: some: want any, read-write, read-only, primary, standby or prefer-standby`,
		"postgres://u:hunter2@h:port/db":                       `invalid port: want a number from 1 to 65535`,
		"postgres://u:hunter2@[h/db":                           `failed to parse as URL (end of string reached when looking for matching "]" in IPv6 host address in URI)`,
		"host=h password='hunter2":                             `failed to parse as keyword/value (unterminated quoted string in connection info string)`,
	} {
		_, err := pgxpool.ParseConfig(dsn)
		require.Error(t, err, dsn)
		assert.EqualError(t, connstring.Fault(err), "cannot parse the connection string: "+want, dsn)
	}
	other := errors.New("another")
	assert.Equal(t, other, connstring.Fault(other))
	assert.NoError(t, connstring.Fault(nil))
}

func TestAFaultHasNothingOfThePassword(t *testing.T) {
	t.Parallel()
	refused := 0
	for _, dsn := range malformed {
		_, err := pgxpool.ParseConfig(dsn)
		if err == nil {
			continue
		}
		refused++
		assert.NotRegexp(t, "hunter|seven|s3cr", connstring.Fault(err).Error(), dsn)
	}
	assert.Greater(t, refused, 15)
	quoted := pgconn.NewParseConfigError("host=h sslpassword=hunter2", `no "hunter2", please`, nil) // if it ever should
	assert.EqualError(t, connstring.Fault(quoted), `cannot parse the connection string: no "…", please`)
}

// malformed are connection strings with a password of hunter and s3cr, in pieces or whole,
// where pgx does or does not look for it.
var malformed = []string{
	"postgres://u:hunter2/s3cr@h/db", "postgres://u:hunter2/s3cr@h:1/db?x", "postgres://u:hunter2?s3cr@h/db", "postgres://u:hunter2#s3cr@h/db",
	"postgres://u:hunter2,s3cr@h/db", "postgres://u:hunter2:s3cr@h/db:1", "postgres://u:hunter%2@h/db", "postgres://u:%hunter2@h/db", "postgres://u:hunter2%zz@h/db",
	"postgres://u:hunter2@[h/db", "postgres://u:hunter2@h:s3cr/db", "postgres://u:hunter2@h/db?password=s3cr&password", "postgres://h/db?password=hunter2=s3cr",
	"postgres://h/db?password=hunter2&hunter3", "postgres://h/db?user=u:hunter2&hunter3=4=5", "postgres://h/db?hunter2", "postgres://h/db?pass%77ord=hunter2&x",
	"postgres//u:hunter2@h/db", "postgresql:u:hunter2@h/db", "mysql://u:hunter2@h/db", "u:hunter2@h/db", "//u:hunter2@h/db", "jdbc:postgresql://h/db?user=u&password=hunter2",
	"password=hunter2 s3cr host=h", "password = hunter2 s3cr host = h", "password='hunter2 s3cr host=h", "password=hunter2' host=h sslmode=maybe", "host=h password:hunter2",
	"host=h password", "password=hunter2 s3cr seven", "password=\"hunter2 s3cr\" host=h", "host=h port=hunter2 password=hunter2", "host=h password=hunter2 port=hunter",
	"password=hunter2\x00 host=h", "host=h user=u password='hunter2' connect_timeout=hunter2", "host=h sslpassword=hunter2 sslcert=c sslkey=/nowhere sslmode=require",
	"host=h password='a\\'hunter2 port=x", "host=h password=hunter2 pool_max_conns=hunter2", "host=h pool_max_conns=hunter2 password=hunter2", "hunter2", `postgres://h/db?a"hunter2`, `postgres://h/db?a\hunter2\`, `postgres://h/db?hunter2"=3=4`, "postgres://h/db?x=y&%hunter2=1", "postgres://hunter2%zz@h/db", "password=hunter2;host=h;port=s3cr",
}
