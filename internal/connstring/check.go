package connstring

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Check is what is wrong with connString, which a parser of pgx's has made c of, though that takes it: a part of the
// password may be in another place. In a URL the first @ ends the password, as in libpq, and a / in it begins the
// database; then that part would be shown wherever the host or the database is, and looked up in DNS. Check quotes
// nothing.
func Check(connString string, c *pgconn.Config) error {
	u := urlOf(connString)
	switch {
	case strings.Contains(u.host, "@"):
		return misplaced("an @ in its host")
	case strings.ContainsAny(u.database, "@:/#"):
		return misplaced("an @, :, / or # in the name of its database")
	case slices.ContainsFunc(u.query, mayBePassword):
		return misplaced("an @ behind its ?")
	case isURL.MatchString(c.Database):
		return errors.New("the name of the database is a connection string: give that itself to Open, or as DATABASE_URL")
	case strings.Contains(u.host, "%"): // it was escaped, so it is meant
		return nil
	}
	hosts := []string{c.Host}
	for _, f := range c.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	if slices.ContainsFunc(hosts, func(h string) bool { return strings.Contains(h, "@") && !strings.HasPrefix(h, "/") }) {
		return errors.New("the host has an @ in it, which no name of a host has: it may be a part of a password")
	}
	return nil
}

func misplaced(what string) error {
	return errors.New("the connection string has " + what + ", so a part of its password may be in the wrong place: " + Escape)
}

// Escape says how what is special in a URL is written in one.
const Escape = "in the user, password and database of a URL write % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 (url.UserPassword of net/url does)"

var isURL = regexp.MustCompile(`^postgres(ql)?://`)

// parts are those of a URL that pgx takes for what they are called, as they are written.
type parts struct {
	host, database string
	query          []string
}

// urlOf is empty if connString is no URL.
func urlOf(connString string) (u parts) {
	rest, query, _ := strings.Cut(behindUser(connString), "?")
	if query != "" {
		u.query = strings.Split(query, "&")
	}
	u.host, u.database, _ = strings.Cut(rest, "/")
	return u
}

// behindUser is what follows the user and the password in a URL, as libpq reads it; empty if connString is none.
func behindUser(connString string) string {
	prefix := isURL.FindString(connString)
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

// mayHaveAt are keys whose values often have an @.
var mayHaveAt = []string{"user", "password", "sslpassword", "application_name", "options", "passfile", "sslcert", "sslkey", "sslrootcert", "servicefile", "host", "dbname", "database"}
