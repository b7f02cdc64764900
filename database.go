package lmipool

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/connstring"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// database has the settings that the connection string, or pgxpool's Config, gives. Config and the LMIPOOL_* variables are applied to them later.
type database struct {
	from  string                                                  // the source of the connection string, such as a variable; errors and the log name it
	dsn   *pgx.ConnConfig                                         // the host, user and so on of the dial
	given func(setting) (value, by string)                        // the value of a setting and who set it; both are empty if it is not set
	pool  func(context.Context, *pool.Config) (*pool.Pool, error) // makes the pool
}

// origin makes a database. If mustName is true and nothing names a host, it returns an error, since libpq's default, a local socket, would be dialed
// then.
type origin func(lookup func(string) (string, bool), mustName bool) (*database, error)

// fromString returns the origin for a connection string. If the string is empty, DATABASE_URL or the PG* variables name the database.
func fromString(connString string) origin {
	return func(lookup func(string) (string, bool), mustName bool) (*database, error) {
		connString, source := findConnString(connString, lookup)
		if mustName && !namesHost(connString, lookup) {
			return nil, noHost(connString, source)
		}
		dsn, err := connstring.Parse(connString)
		if err != nil {
			return nil, fmt.Errorf("lmipool: %s: %w", source, err)
		}
		return &database{
			from: source, dsn: dsn,
			given: func(s setting) (value, by string) { return s.inConnString(dsn) },
			pool: func(ctx context.Context, c *pool.Config) (*pool.Pool, error) {
				return pool.New(ctx, connString, c)
			},
		}, nil
	}
}

// fromPgxpool returns the origin for pgxpool's Config.
func fromPgxpool(px *pgxpool.Config) origin {
	const source = "pgxpool.Config"
	return func(lookup func(string) (string, bool), mustName bool) (*database, error) {
		if px == nil {
			return nil, errors.New("lmipool: OpenConfig: the pgxpool.Config is nil: make one with pgxpool.ParseConfig")
		}
		if px.ConnConfig == nil {
			return nil, errors.New("lmipool: OpenConfig: the pgxpool.Config is not from pgxpool.ParseConfig")
		}
		connString := px.ConnString()
		parsed, err := pgxpool.ParseConfig(connString) // what px was before the user changed it
		if err != nil {
			return nil, fmt.Errorf("lmipool: %s: %w", source, connstring.Fault(err))
		}
		dsn, err := pgx.ParseConfig(connString)
		if err != nil {
			return nil, fmt.Errorf("lmipool: %s: %w", source, connstring.Fault(err))
		}
		named := px.BeforeConnect != nil || px.ConnConfig.Host != parsed.ConnConfig.Host || !pgdial.SameFunc(px.ConnConfig.DialFunc, parsed.ConnConfig.DialFunc)
		if mustName && !named && !namesHost(connString, lookup) {
			return nil, noHost(connString, source)
		}
		return &database{
			from: source, dsn: px.ConnConfig.Copy(),
			given: func(s setting) (value, by string) {
				if is := s.inPgxpool(px); is != s.inPgxpool(parsed) {
					return is, source
				}
				return s.inConnString(dsn)
			},
			pool: func(ctx context.Context, c *pool.Config) (*pool.Pool, error) {
				return pool.NewWithConfig(ctx, px, c)
			},
		}, nil
	}
}

// inConnString returns the value that the connection string gives to s, if any.
func (s setting) inConnString(dsn *pgx.ConnConfig) (value, by string) {
	const source = "connection string"
	if s.dsn == "connect_timeout" { // not in RuntimeParams: pgx has removed it
		if dsn.ConnectTimeout > 0 {
			return dsn.ConnectTimeout.String(), source
		}
		return "", ""
	}
	if value, ok := dsn.RuntimeParams[s.dsn]; ok {
		return value, source
	}
	return "", ""
}

// inPgxpool returns the value of s in px, or "" if px has no such field.
func (s setting) inPgxpool(px *pgxpool.Config) string {
	v := reflect.ValueOf(px).Elem().FieldByName(s.field)
	if !v.IsValid() {
		v = reflect.ValueOf(px.ConnConfig).Elem().FieldByName(s.field)
	}
	if !v.IsValid() {
		return ""
	}
	return fmt.Sprint(v.Interface())
}

// findConnString returns the connection string and where it came from.
func findConnString(s string, lookup func(string) (string, bool)) (connString, source string) {
	if s != "" {
		return s, "connection string"
	}
	if s, _ := lookup("DATABASE_URL"); s != "" {
		return s, "DATABASE_URL"
	}
	return "", "PG* variables"
}

// onLambda reports whether the process runs, or seems to run, on a Lambda of any kind. There the settings must name a host: libpq's default is a
// local socket, which no Lambda has, and the error of the dial would name a path that the user never wrote.
func onLambda(env lambdaenv.Env, lookup func(string) (string, bool)) bool {
	name, _ := lookup("AWS_LAMBDA_FUNCTION_NAME")
	return env.Kind != lambdaenv.NotLambda || name != ""
}

// namesHost reports whether the connection string or a variable names the host to dial, or a service file that may.
func namesHost(connString string, lookup func(string) (string, bool)) bool {
	host, _ := lookup("PGHOST")
	service, _ := lookup("PGSERVICE")
	return host != "" || service != "" || connstring.NamesHost(connString)
}

func noHost(connString, source string) error {
	if connString != "" {
		return fmt.Errorf("lmipool: no database: the %s has no host, and neither PGHOST nor BeforeConnect gives one", source)
	}
	return errors.New("lmipool: no database: pass a connection string to Open, or set DATABASE_URL or PGHOST")
}
