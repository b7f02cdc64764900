package lmipool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool"
)

// A password with an @ or a / that is not escaped ends in the host or in the database, and was shown as that.
func TestOpenRefusesAPasswordInTheWrongPlace(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://app:s3cr@hunter2@127.0.0.1/db", "postgres://app:12/hunter2@127.0.0.1", "postgres://app:12/hunter2:127.0.0.1",
		"postgres://app:12/hunter2#x", "postgres://app:12/hunter2/x", "postgres://app:12/hunter2?a=b@127.0.0.1", "host=app:hunter2@127.0.0.1",
	} {
		for _, fromVariable := range []bool{false, true} {
			log := &logged{}
			vars, dsn := managed("8"), url
			if fromVariable {
				vars["DATABASE_URL"], dsn = url, ""
			}
			db, err := lmipool.OpenIn(t.Context(), vars, dsn, &lmipool.Config{Logger: log.logger()})
			if !assert.Error(t, err, url) {
				db.Close()
				continue
			}
			assert.True(t, lmipool.Misconfigured(err))
			assert.NotRegexp(t, "hunter2|s3cr", err.Error())
			assert.NotRegexp(t, "hunter2|s3cr", log.text())
		}
	}
	db, err := lmipool.OpenIn(t.Context(), managed("8"), "postgres://app:s3cr%40hunter2%2F@127.0.0.1/a%40b", nil)
	if assert.NoError(t, err, "escaped it is legal") {
		db.Close()
	}
}
