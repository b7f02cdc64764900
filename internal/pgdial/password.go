package pgdial

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// password is what one dial remembers of the one that it tried.
type password struct {
	tried bool
	was   string
}

type passwordKey struct{}

// errSamePassword ends the second try: the answer would be the same.
var errSamePassword = errors.New("lmipool: BeforeConnect has no other password")

// WithPasswords has acquire dial, and once more if the server refuses the password and BeforeConnect, which must end with TryPassword,
// has another one by then: a token that the server no longer takes, of a role that was changed or by a clock that was wrong, costs no
// caller an error.
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

// refused reports whether the server has refused the password, or the user by any name: RDS answers 28000 for a token, PostgreSQL
// 28P01 for a password.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "28P01" || e.Code == "28000")
}
