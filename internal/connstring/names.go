package connstring

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lmipool/lmipool/internal/pattern"
)

// The settings that the server does not know, and whose names are long enough to be recognised when they are misspelt: pools has pgxpool's, clients
// has pgx's and libpq's.
var (
	pools = []string{
		"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conn_idle_time",
		"pool_health_check_period", "pool_ping_timeout",
	}
	clients = []string{
		"password", "passfile", "database", "connect_timeout", "sslmode", "sslkey", "sslcert", "sslrootcert", "sslnegotiation", "sslpassword", "target_session_attrs",
		"service", "servicefile", "min_protocol_version", "max_protocol_version", "channel_binding", "require_auth", "default_query_exec_mode", "statement_cache_capacity",
		"description_cache_capacity",
	}
)

// nearly is by how many letters a misspelt name may differ from the right one.
const nearly = 2

// CheckNames returns an error if params, the settings that pgx and pgxpool have left for the server, have a name that begins with pool_ or is nearly
// one of clients. The server would refuse such a setting at the first use. The error quotes no name of params.
func CheckNames(params map[string]string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(params)) {
		nearest, far := Nearest(name, clients)
		switch {
		case strings.HasPrefix(name, "pool_") && !strings.Contains(name, "."):
			if nearest, far = Nearest(strings.TrimPrefix(name, "pool_"), clients); far > 0 {
				nearest, far = Nearest(name, pools)
			}
			hint := "there are"
			if far <= len(name)/3 {
				hint = fmt.Sprintf("the nearest is %q, of", nearest)
			}
			errs = append(errs, fmt.Errorf("the connection string has a setting that begins with pool_ and does not exist; %s %s", hint, strings.Join(pools, ", ")))
		case far <= nearly:
			errs = append(errs, fmt.Errorf("the connection string has a setting that does not exist; the nearest is %q", nearest))
		}
	}
	return errors.Join(errs...)
}

// Nearest returns the one of names that is most like name, and by how many letters it differs.
func Nearest(name string, names []string) (nearest string, far int) {
	far = len(name) + 100
	for _, n := range names {
		if d := distance(name, n); d < far {
			nearest, far = n, d
		}
	}
	return nearest, far
}

// distance returns the Levenshtein distance of a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// values has the values that pgx accepts (want), for errors of pgx that contain says.
var values = []struct{ says, want string }{
	{"sslmode is invalid", "disable, allow, prefer, require, verify-ca or verify-full"},
	{"unknown target_session_attrs", "any, read-write, read-only, primary, standby or prefer-standby"},
	{"unknown channel_binding", "disable, prefer or require"},
	{"protocol_version", "3.0, 3.2 or latest"},
	{"invalid default_query_exec_mode", "cache_statement, cache_describe, describe_exec, exec or simple_protocol"},
	{"invalid connect_timeout", "a whole number of seconds"},
	{"invalid port", "a number from 1 to 65535"},
	{"pool_max_conns", "a whole number, 1 or more"},
	{"pool_min_conns", "a whole number"},
	{"pool_min_idle_conns", "a whole number"},
	{"pool_", `a duration with its unit, such as "30s"`},
}

// wanted returns which values pgx accepts, if text is pgx's error about a value; "" if that is not known.
func wanted(text string) string {
	for _, v := range values {
		if strings.Contains(text, v.says) {
			return v.want
		}
	}
	return ""
}

// namesHost matches a string of keywords and values that has a host or a service.
var namesHost = pattern.Lazy{Text: `(^|\s)(host|service)\s*=\s*('[^']|[^'\s])`}

// NamesHost reports whether connString has a host, or a service, from which pgx takes the host.
func NamesHost(connString string) bool {
	if urlScheme(connString) != "" {
		u := urlOf(connString)
		host, _, _ := strings.Cut(u.host, ":")
		return strings.HasPrefix(u.host, "[") || strings.Trim(host, ",") != "" || slices.ContainsFunc(u.query, func(pair string) bool {
			key, value, _ := strings.Cut(pair, "=")
			return (key == "host" || key == "service") && value != ""
		})
	}
	return namesHost.RE().MatchString(connString)
}
