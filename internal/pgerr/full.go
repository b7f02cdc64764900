package pgerr

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsFull reports whether a dial was refused for want of room: max_connections, the
// reserved slots, the CONNECTION LIMIT of the role or of the database (PostgreSQL says
// 53300 for each), or a pooler's own limit. PgBouncer says 08P01 for all that it refuses,
// in words of its own or in those of the server behind it.
func IsFull(err error) bool {
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself: each host that was tried has its own
	case nil:
		return false
	case *pgconn.PgError:
		return x.Code == "53300" || x.Code == "08P01" && fullWords.MatchString(x.Message)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(x.Unwrap(), IsFull)
	}
	return IsFull(errors.Unwrap(err))
}

// fullWords are PgBouncer's settings and PostgreSQL's messages, these in English.
var fullWords = regexp.MustCompile(`max_client_conn|max_(db|user)_client_connections|too many (clients|connections)|connection slots are reserved`)

// Full is what the refusal err means to a pool of at most maxConns.
func Full(err error, maxConns int) error {
	return fmt.Errorf("%w: %w (environments × MaxConns, here %d, must fit into the server's max_connections and the"+
		" CONNECTION LIMITs of role and database, or the pooler's limit: raise those, or lower MaxConns)", ErrServerFull, err, maxConns)
}
