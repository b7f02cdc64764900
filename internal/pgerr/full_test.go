package pgerr

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

func TestWhatAFullServerSays(t *testing.T) {
	t.Parallel()
	pg := func(code, text string) error {
		return fmt.Errorf("failed to connect: %w", &pgconn.PgError{Code: code, Message: text})
	}
	other := pg("28P01", "password authentication failed")
	for text, full := range map[error]bool{
		nil:                                 false,
		errors.New("connection refused"):    false,
		pg("53300", "sorry"):                true,
		errors.Join(other, pg("53300", "")): true, // one of several hosts
		fmt.Errorf("%w, %w", other, other):  false,
		pg("08P01", "no more connections allowed (max_client_conn)"):             true,
		pg("08P01", "client connections exceeded (max_user_client_connections)"): true,
		pg("08P01", "too many connections for role \"r\""):                       true,
		pg("08P01", "unsupported startup parameter: x"):                          false,
		pg("57P03", "the database system is starting up"):                        false,
	} {
		assert.Equal(t, full, IsFull(text), "%v", text)
	}
}
