package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/sslmode"
)

// login is what one dial remembers of the password it tried, so that a token that the
// server no longer takes (of a role that was changed, by a clock that was wrong) costs
// no caller an error: BeforeConnect is asked once more, and if it has another password
// by now, that is tried, once.
type login struct {
	tried    bool
	password string
}

type loginKey struct{}

// errSamePassword ends the second try: the answer would be the same.
var errSamePassword = errors.New("lmipool: BeforeConnect has no other password")

// connect has pgxpool dial.
func (p *Pool) connect(ctx context.Context) (c *pgxpool.Conn, err error) {
	for range maxModes {
		if c, err = p.connectOnce(ctx); !errors.Is(err, errOtherMode) {
			break
		}
	}
	return c, err
}

func (p *Pool) connectOnce(ctx context.Context) (c *pgxpool.Conn, err error) {
	if p.cfg.BeforeConnect == nil {
		return p.px.Acquire(ctx)
	}
	ctx = context.WithValue(ctx, loginKey{}, &login{})
	c, err = p.px.Acquire(ctx)
	if !loginRefused(err) {
		return c, err
	}
	again, errAgain := p.px.Acquire(ctx)
	if errors.Is(errAgain, errSamePassword) {
		return nil, err
	}
	return again, errAgain
}

// attempt is called for each connect with the password that BeforeConnect chose.
func attempt(ctx context.Context, cc *pgx.ConnConfig) error {
	l, _ := ctx.Value(loginKey{}).(*login)
	if l == nil {
		return nil
	}
	if l.tried && l.password == cc.Password {
		return errSamePassword
	}
	l.tried, l.password = true, cc.Password
	return nil
}

// loginRefused reports whether the server has refused the password, or the user by
// any name: RDS answers 28000 for a token, PostgreSQL 28P01 for a password.
func loginRefused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "28P01" || e.Code == "28000")
}

// passwordWord finds a refusal that is about a password, rather than the user or where he is.
var passwordWord = regexp.MustCompile(`28P01|authentication failed`)

// dialError is err with what to do about it, and without the password that pgx keeps
// in the configuration it hands out with each of its errors.
func (p *Pool) dialError(err error) error {
	var ce *pgconn.ConnectError
	tls, nothing := true, false
	if errors.As(err, &ce) && ce.Config != nil {
		nothing, ce.Config.Password = ce.Config.Password == "", "" // of this dial alone
		switch sslmode.Of(ce.Config) {
		case sslmode.Disable, sslmode.Allow, sslmode.Prefer: // it was tried in plain text, too
			tls = false
		}
	}
	advice := p.explainUpstream(err)
	if tls {
		advice = cmp.Or(explainTLS(err, p.hosts), advice)
	}
	if nothing && loginRefused(err) && passwordWord.MatchString(err.Error()) {
		advice = "no password was given: not in the connection string, PGPASSWORD or a passfile, and BeforeConnect has set none"
	}
	var e *pgconn.PgError
	if advice == "" && errors.As(err, &e) {
		advice = e.Hint
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}
