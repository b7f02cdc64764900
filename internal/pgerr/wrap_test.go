package pgerr

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

func TestPgconnSeesATimeoutWhereACtxHadEnded(t *testing.T) {
	t.Parallel()
	late, gone, other := context.DeadlineExceeded, context.Canceled, errors.New("no")
	for err, timeout := range map[error]bool{
		Canceled(late, other):          true,
		Canceled(gone, other):          false,
		Unsent("it", late):             true,
		Unsent("it", gone):             true, // as pgx says it of a ctx that had ended before
		Unsent("it", other):            false,
		SentUnanswered(late):           false,
		RolledBack(Unsent("it", late)): true,
	} {
		assert.Equal(t, timeout, pgconn.Timeout(err), "%T: %v", err, err)
	}
}
