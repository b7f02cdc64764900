package stdlib

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lmipool/lmipool/pool"
)

// DB is what runs the statements of a *sql.DB: a *lmipool.Pool, a *pool.Pool or a *pool.Bound.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Ping(ctx context.Context) error
	NeedsSession(ctx context.Context, sql string, args ...any) bool
	AcquireFor(ctx context.Context, f func(*pool.Lease) error) (*pool.Lease, error)
}

// MaxIdleConns is the number of idle virtual connections that OpenDB lets a *sql.DB keep. They hold no connection of the pool. Making one costs more
// than keeping it, and as many as this are in use when the invocations of a managed instance all wait.
const MaxIdleConns = 1000

// OpenDB returns a *sql.DB that runs its statements on db. It dials nothing. Closing it does not close db.
func OpenDB(db DB) *sql.DB {
	d := sql.OpenDB(NewConnector(db))
	d.SetMaxIdleConns(MaxIdleConns)
	return d
}

// NewConnector returns the connector that [OpenDB] uses, for code that wraps one, such as a tracer. Call SetMaxIdleConns([MaxIdleConns]) on its *sql.DB.
func NewConnector(db DB) driver.Connector {
	if db == nil {
		panic("stdlib: the pool is nil: look at Open's error before its result is used")
	}
	return &connector{db: db}
}

type connector struct {
	db DB

	mu     sync.Mutex
	params map[string]int // how many parameters the texts have that were prepared
}

// Connect returns a virtual connection. ctx is that of the caller who is about to use it.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	return &Conn{of: c, ctx: ctx}, nil
}

// Driver returns pgx's driver, since libraries tell by its type which database they have.
func (c *connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

const (
	maxTexts = 1000     // how many texts a connector remembers; when there are more, it forgets all
	maxText  = 16 << 10 // the bytes of the longest text that it remembers
)

// paramsOf returns how many parameters sql has, if it was prepared before.
func (c *connector) paramsOf(sql string) (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok = c.params[sql]
	return n, ok
}

func (c *connector) remember(sql string, params int) {
	if len(sql) > maxText {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.params == nil || len(c.params) == maxTexts {
		c.params = make(map[string]int)
	}
	c.params[sql] = params
}
