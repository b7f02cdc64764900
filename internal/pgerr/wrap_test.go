package pgerr

import (
	"context"
	"errors"
	"fmt"
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

func TestAnOutcomeThatIsUnknownSaysSo(t *testing.T) {
	t.Parallel()
	err := Named(Canceled(context.DeadlineExceeded, errors.New("timeout")), above)
	assert.NotErrorAs(t, err, new(*OutcomeUnknownError), "the server has stopped it")
	err = SentUnanswered(errors.New("lmipool: canceled: too late"))
	const said = "no answer came"
	assert.EqualError(t, err, "lmipool: "+said+", so it may have happened: canceled: too late")
	err = fmt.Errorf("order 7: %w", err)
	for _, not := range []error{RolledBack(err), NotRun("a standby", err)} {
		assert.ErrorContains(t, not, said)
		assert.NotContains(t, not.Error(), "may have happened")
		assert.ErrorIs(t, not, err)
	}
}
