package lmipool

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/connstring"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// database is what is known of the database before Config and the variables.
type database struct {
	from  string                                                  // who says what is dialed, for errors and the log
	dsn   *pgx.ConnConfig                                         // what is dialed
	given func(setting) (value, by string)                        // by is empty if s is not set
	pool  func(context.Context, *pool.Config) (*pool.Pool, error) // makes the pool
}

// origin makes a database. If it mustName one, a connection to libpq's last resort is an error.
type origin func(lookup func(string) (string, bool), mustName bool) (*database, error)

// fromString is what a connection string says, or what the environment does if that is empty.
func fromString(connString string) origin {
	return func(lookup func(string) (string, bool), mustName bool) (*database, error) {
		connString, source := findConnString(connString, lookup)
		if mustName && !namesHost(connString, lookup) {
			return nil, noHost(connString, source)
		}
		dsn, err := pgx.ParseConfig(connString)
		if err != nil {
			return nil, fmt.Errorf("lmipool: %s: %w", source, connstring.Fault(err))
		}
		if err := connstring.Check(connString, &dsn.Config); err != nil {
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

// fromPgxpool is what pgxpool's Config says.
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
		parsed, err := pgxpool.ParseConfig(connString) // as it was before the user has changed it
		if err != nil {
			return nil, fmt.Errorf("lmipool: %s: %w", source, connstring.Fault(err))
		}
		dsn, err := pgx.ParseConfig(connString)
		if err != nil {
			return nil, fmt.Errorf("lmipool: %s: %w", source, connstring.Fault(err))
		}
		named := px.BeforeConnect != nil || px.ConnConfig.Host != parsed.ConnConfig.Host || !sameFunc(px.ConnConfig.DialFunc, parsed.ConnConfig.DialFunc)
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

func sameFunc(a, b any) bool { return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() }

// inConnString is what the connection string says of s.
func (s setting) inConnString(dsn *pgx.ConnConfig) (value, by string) {
	const source = "connection string"
	if s.dsn == "connect_timeout" { // pgx has taken it out of RuntimeParams
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

// inPgxpool is what px has of s; empty if it has no such field.
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

// onLambda reports whether this is a Lambda of any kind, or looks like one: libpq's last resort is a local socket, which
// none has, and the error would be about a path nobody wrote.
func onLambda(env lambdaenv.Env, lookup func(string) (string, bool)) bool {
	name, _ := lookup("AWS_LAMBDA_FUNCTION_NAME")
	return env.Kind != lambdaenv.NotLambda || name != ""
}

// namesHost reports whether somebody has said which host to dial, or a service file may.
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
