// Package postgres registers lmipool as database/sql's driver "postgres", in lib/pq's place, for tests that open their databases by that name.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

func init() { sql.Register("postgres", opener{}) }

type opener struct{}

// Open is not called, since opener is a driver.DriverContext.
func (opener) Open(string) (driver.Conn, error) { return nil, driver.ErrSkip }

// OpenConnector makes a pool of two connections. It is never closed, since the process ends with the tests.
func (opener) OpenConnector(dsn string) (driver.Connector, error) {
	p, err := pool.New(context.Background(), dsn, &pool.Config{MaxConns: 2})
	if err != nil {
		return nil, err
	}
	return stdlib.NewConnector(p), nil
}
