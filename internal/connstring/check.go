package connstring

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Parse is [pgx.ParseConfig] with the checks of [Check]. Its error shows nothing of the password.
func Parse(connString string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, Fault(err)
	}
	return c, Check(connString, &c.Config)
}

// Check returns an error if a part of the password seems to be in another place of connString, from which pgx has parsed c without an error. In a URL
// the first @ ends the password, as in libpq, and a / in it begins the database. The rest of the password would then be shown wherever the host or
// the database is shown, and be looked up in DNS. The error quotes nothing of connString.
func Check(connString string, c *pgconn.Config) error {
	u := urlOf(connString)
	switch {
	case strings.Contains(u.host, "@"):
		return misplaced("an @ in its host")
	case strings.ContainsAny(u.database, "@:/#"):
		return misplaced("an @, :, / or # in the name of its database")
	case slices.ContainsFunc(u.query, mayBePassword):
		return misplaced("an @ behind its ?")
	case urlScheme(c.Database) != "":
		return errors.New("the name of the database is a connection string: give that string itself to Open, or set it as DATABASE_URL")
	case strings.Contains(u.host, "%"): // the host is escaped, so an @ in it is intended
		return nil
	}
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	if slices.ContainsFunc(hosts, func(h string) bool { return strings.Contains(h, "@") && !strings.HasPrefix(h, "/") }) {
		return errors.New("the host has an @ in it, which no host name has: a part of the password may be in the wrong place")
	}
	return nil
}

func misplaced(what string) error {
	return errors.New("the connection string has " + what + ", so a part of its password may be in the wrong place: " + Escape)
}

// Escape is the advice on how to write the special characters of a URL.
const Escape = "in the user, password and database of a URL write % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 (url.UserPassword of net/url does)"

// urlScheme returns postgres:// or postgresql:// if s begins with it, else "".
func urlScheme(s string) string {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(s, scheme) {
			return scheme
		}
	}
	return ""
}

// parts are the parts of a URL as pgx divides it, still escaped.
type parts struct {
	host, database string
	query          []string
}

// urlOf returns the parts of connString. They are empty if it is not a URL.
func urlOf(connString string) (u parts) {
	rest, query, _ := strings.Cut(behindUser(connString), "?")
	if query != "" {
		u.query = strings.Split(query, "&")
	}
	u.host, u.database, _ = strings.Cut(rest, "/")
	return u
}

// behindUser returns what follows the user and the password in a URL, as libpq reads it; "" if connString is not a URL.
func behindUser(connString string) string {
	prefix := urlScheme(connString)
	if prefix == "" {
		return ""
	}
	rest := connString[len(prefix):]
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	return rest
}

// mayBePassword reports whether a pair of a URL's query has an @ where none is expected.
func mayBePassword(pair string) bool {
	key, value, _ := strings.Cut(pair, "=")
	return strings.Contains(key, "@") || strings.Contains(value, "@") && !slices.Contains(mayHaveAt, key)
}

// mayHaveAt has the keys whose values often have an @.
var mayHaveAt = []string{"user", "password", "sslpassword", "application_name", "options", "passfile", "sslcert", "sslkey", "sslrootcert", "servicefile", "host", "dbname", "database"}
