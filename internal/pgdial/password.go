package pgdial

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// password is the password that a dial has tried.
type password struct {
	tried bool
	was   string
}

type passwordKey struct{}

// errSamePassword ends the second try, since the server would refuse the same password again.
var errSamePassword = errors.New("lmipool: BeforeConnect has no other password")

// WithPasswords calls acquire, which dials. If the server refuses the password, it calls acquire once more, which succeeds only if BeforeConnect has
// another password by then. BeforeConnect must end with TryPassword. So no caller gets an error because of a token that the server no longer accepts,
// for example because a role was changed or a clock was wrong.
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

// TryPassword notes the password that BeforeConnect has chosen. It returns an error if WithPasswords dials for the second time with the same
// password.
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
