package pgdial

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/sslmode"
)

// Explain is err, of a dial to one of hosts, with what to do about it, and without the password that pgx keeps
// in the configuration it hands out with each of its errors. direct: nobody knows of a pooler.
func Explain(err error, hosts []string, direct bool) error {
	var ce *pgconn.ConnectError
	tls, nothing := true, false
	if errors.As(err, &ce) && ce.Config != nil {
		nothing, ce.Config.Password = ce.Config.Password == "", "" // of this dial alone
		switch sslmode.Of(ce.Config) {
		case sslmode.Disable, sslmode.Allow, sslmode.Prefer: // it was tried in plain text, too
			tls = false
		}
	}
	var e *pgconn.PgError
	isPg, advice := errors.As(err, &e), ""
	if isPg {
		advice = explainPooler(e, direct)
	}
	if tls {
		advice = cmp.Or(explainTLS(err, hosts), advice)
	}
	if nothing && refused(err) && passwordWord.MatchString(err.Error()) {
		advice = "no password was given: not in the connection string, PGPASSWORD or a passfile, and BeforeConnect has set none"
	}
	if advice == "" && isPg {
		advice = e.Hint
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// passwordWord finds a refusal that is about a password, rather than the user or where he is.
var passwordWord = regexp.MustCompile(`28P01|authentication failed`)
