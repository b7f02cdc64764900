package pgdial

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// password is the one that a dial has tried.
type password struct {
	tried bool
	was   string
}

type passwordKey struct{}

// errSamePassword ends the second try: the answer would be the same.
var errSamePassword = errors.New("lmipool: BeforeConnect has no other password")

// WithPasswords calls acquire, which dials, and calls it once more if the server refuses the password and BeforeConnect, which must end with
// TryPassword, has another one by then. So a token that the server no longer accepts, because a role was changed or a clock was wrong, is no error for
// any caller.
func WithPasswords(ctx context.Context, acquire func(context.Context) (*pgxpool.Conn, error)) (*pgxpool.Conn, error) {
	ctx = context.WithValue(ctx, passwordKey{}, &password{})
	c, err := acquire(ctx)
	if !refused(err) {
		return c, err
	}
	again, errAgain := acquire(ctx)
	if errors.Is(errAgain, errSamePassword) {
		return nil, err
	}
	return again, errAgain
}

// TryPassword is called for each connect with the password that BeforeConnect chose.
func TryPassword(ctx context.Context, cc *pgx.ConnConfig) error {
	p, _ := ctx.Value(passwordKey{}).(*password)
	if p == nil {
		return nil
	}
	if p.tried && p.was == cc.Password {
		return errSamePassword
	}
	p.tried, p.was = true, cc.Password
	return nil
}

// refused reports whether the server has refused the password or the user: RDS answers 28000 for a token, PostgreSQL 28P01 for a password.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "28P01" || e.Code == "28000")
}
