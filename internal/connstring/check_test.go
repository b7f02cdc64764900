package connstring_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/connstring"
)

// misplacedPasswords are connection strings that pgx takes, with a part of the password hunter2 or w0rd elsewhere.
var misplacedPasswords = []string{
	"postgres://app:s3cr@hunter2@host/db", "postgresql://app:s3cr@hunter2@host:5432/db?sslmode=disable", "postgres://app:s3cr@hunter2@host",
	"postgres://app:s3cr@h1,hunter2@h2/db", "postgres://app:s3cr@hunter2#@host/db", "postgres://app:s3cr@[::1]:1,hunter2@host/db", "postgres://app:s3cr@@hunter2@host/db",
	"postgres://app:12/w0rd@host", "postgres://app:12/w0rd@host/db", "postgres://app:/w0rd@host:5432/db", "postgres://app:s3@cr/w0rd@host/db", "postgres://app/w0rd@host/db",
	"postgres://app:12/w0rd#host", "postgres://app:12/w0rd:host", "postgres://app:12/w0rd/host",
	"postgres://app:12/w0rd?a=b@host/db", "postgres://app:s3cr@w0rd?x=y@host/db", "postgres://app:12/x?w0rd=y@host", "postgres://app:12/x?w0rd@y=z",
}

func TestAPasswordThatIsInTheWrongPlaceIsRefused(t *testing.T) {
	t.Parallel()
	for _, dsn := range misplacedPasswords {
		c, err := pgxpool.ParseConfig(dsn)
		require.NoError(t, err, dsn)
		err = connstring.Check(dsn, &c.ConnConfig.Config)
		if assert.Error(t, err, dsn) {
			assert.NotRegexp(t, "hunter|w0rd|s3cr|app|host2", err.Error(), dsn)
			assert.Contains(t, err.Error(), "%40", dsn)
			_, err2 := connstring.Parse(dsn)
			assert.Equal(t, err, err2)
		}
	}
}

func TestWhatIsNoPasswordIsNotRefused(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"", "postgres://", "postgres:///", "postgres://host", "postgres://u:p@host/db", "postgres://u:a:b?c#d@host/db", "postgres://u:p%40q%2Fr%3As%23@host/db%40x%2Fy%3Az%23",
		"postgres://u@h1:1,h2:2/db?target_session_attrs=any", "postgres://u:p@[::1]:5432/db", "postgres://u:p@%2Fvar%2Frun/db", "postgres://u:p@h%40x/db",
		"postgres://host/db?user=me@tenant&password=p@ss", "postgres://host/db?application_name=me@here&sslrootcert=/a/b@c", "postgres://%2Ftmp%2F@x/db", "postgres:///db?host=/tmp/@x",
		"host=h dbname=a@b:c/d#e user=u password=p@ss", "host=/tmp/@x dbname=d", "postgres://u:p@host/?search_path=a,b", "postgres://u:p@host/db?options=-c%20a=b@c",
	} {
		c, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			continue
		}
		assert.NoError(t, connstring.Check(dsn, &c.ConnConfig.Config), dsn)
	}
	for _, dsn := range []string{"host=app:hunter2@host dbname=db", "host=h dbname=postgres://app:hunter2@host/db", "host=h1,app:hunter2@h2"} {
		c, err := pgxpool.ParseConfig(dsn)
		require.NoError(t, err, dsn)
		err = connstring.Check(dsn, &c.ConnConfig.Config)
		if assert.Error(t, err, dsn) {
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
}

// Whatever the password is: either it is all of it where it belongs, or the string is refused. What is escaped is taken.
func FuzzNoPartOfAPasswordIsElsewhere(f *testing.F) {
	for _, seed := range []string{"s3cr@hunter2", "12/w0rd", "a?b=c", "a#b", "1,2", "[", "@", "/", "5432/x?y=z&a", ":", "%40", " ", "a@b/c?d=e", "1/?a=1", "1/a?user=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, password string) {
		dsn := "postgres://app:" + password + "@host.example/db"
		if c, err := pgxpool.ParseConfig(dsn); err == nil && !likeAKey.MatchString(password) && connstring.Check(dsn, &c.ConnConfig.Config) == nil {
			assert.Equal(t, "host.example", c.ConnConfig.Host, dsn)
			assert.Equal(t, "db", c.ConnConfig.Database, dsn)
		}
		if strings.ContainsRune(password, 0) || password == "" {
			return
		}
		escaped := "postgres://" + url.UserPassword("app", password).String() + "@host.example/db"
		c, err := pgxpool.ParseConfig(escaped)
		require.NoError(t, err, escaped)
		assert.NoError(t, connstring.Check(escaped, &c.ConnConfig.Config), escaped)
		assert.Equal(t, password, c.ConnConfig.Password)
	})
}

// likeAKey finds a password that cannot be told from a query, which may have a user or a password of its own.
var likeAKey = regexp.MustCompile(`/.*[?&](user|password|sslpassword|application_name|options|passfile|sslcert|sslkey|sslrootcert|servicefile|host|dbname|database)=`)
