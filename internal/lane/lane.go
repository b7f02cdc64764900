package lane

import (
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// MaxFlight is how many reads ride in one group at most. A read that was sent cannot be called back, and waits for those in front of it.
const MaxFlight = 32

// Config is what NewShared needs to know of the pool.
type Config struct {
	Sched     *sched.Scheduler
	Functions []string                      // the user's functions that he has declared harmless
	Gone      func(*sched.Request) error    // see [sched.Config]
	Lost      func()                        // is called when a connection was lost
	Protect   func(what string, run func()) // runs the user's code, and recovers if it panics
	Tracer    pgx.QueryTracer               // nil if there is none
	Flew      func(Flown)                   // hears of each group that was carried; nil if nobody wants to hear
	Closed    func() *pgx.Conn              // returns a closed connection, which the tracer is shown
	Log       *slog.Logger
}

// Shared is the state that all lanes of a pool share.
type Shared struct {
	Config
	Catalog   *catalog.Store
	Baselines *facts.Baselines
	types     memrows.Pairs

	rides, flights, refusals atomic.Int64
}

// NewShared returns the Shared of a pool that has no connection yet.
func NewShared(c Config) *Shared {
	s := &Shared{Config: c}
	s.Baselines = facts.NewBaselines(facts.Config{Allowed: facts.Allowed(c.Functions), Rides: s.rides.Load, Lost: pgerr.IsLost})
	s.Catalog = catalog.NewStore(s.Baselines.Newest)
	return s
}

// Stat returns how many reads have ridden, in how many groups, and how many of the reads the guard has stopped.
func (s *Shared) Stat() (rides, flights, refusals int64) {
	return s.rides.Load(), s.flights.Load(), s.refusals.Load()
}

// Conn is what New needs to know of the lane's connection.
type Conn struct {
	PG       *pgx.Conn
	Facts    *facts.Facts
	Types    *memrows.Maps
	Baseline *session.Baseline
	Expired  func() bool // reports whether the connection must not be used any more
	Unnamed  bool        // says that there is a pooler, so that each segment prepares its statement again, without a name
}

// Flown is one group of rides that was carried, from sending to the last answer.
type Flown struct {
	Start  time.Time
	Reads  int
	Server net.Addr
	Lost   error // why the connection was lost; nil if it was not
}

// Lane is the part of a connection that only flights use. Whoever has the connection has its lane too; there is no lock.
type Lane struct {
	Conn
	of      *Shared
	guard   *session.Guard
	server  net.Addr
	guarded bool // the session guard is on

	prepared map[any]*prepared // the key is a *catalog.Statement, or a text of the pool's own
	order    []*prepared       // the same statements, the oldest first
	surplus  []string          // names to deallocate with the next group
}

// New makes the lane of a connection.
func New(s *Shared, c Conn) *Lane {
	return &Lane{Conn: c, of: s, guard: c.Baseline.Guard(), server: c.PG.PgConn().Conn().RemoteAddr()}
}

// Intact reports whether the guard's settings are as the lane has set them.
func (ln *Lane) Intact() bool { return ln.guard.Intact(ln.PG.PgConn(), ln.guarded) }

// maxPrepared bounds the statements that a connection keeps prepared for its lane, because each takes memory on the server.
const maxPrepared = 256

// prepared is a statement that this connection has Parsed and Described itself, because another connection's description can be wrong here without
// any error. Only lanes use its name; pgx has names of its own. On an unnamed lane the statement is Parsed and Described each time.
type prepared struct {
	key  any // its key in Lane.prepared
	sql  string
	name string
	sent bool                 // its Parse was sent, and did not fail
	as   *catalog.Description // the description for which its riders' arguments are encoded; nil for a statement of the pool's own
	sd   *pgconn.StatementDescription
	verified
}

// verified is the server's description of a statement that a connection has Parsed, and the last comparison with it.
type verified struct {
	own   *pgconn.StatementDescription // the parameters and columns as the server described them; nil if it has not yet
	desc  *catalog.Description         // the description with which own was last compared
	set   *memrows.Set                 // the connection's Go types at that comparison
	match memrows.Sameness             // the result of that comparison
}

// find returns the prepared statement of sql, a text of the pool's own. Its Parse may not have been sent yet.
func (ln *Lane) find(sql string) *prepared {
	if s, ok := ln.prepared[sql]; ok {
		return s
	}
	return ln.add(sql, sql, sqltext.StatementName("own", sql, ln.Baseline.Meaning), untold)
}

// untold stands for the columns of the pool's own statements, whose descriptions are not needed. If it were empty, pgx would ask the server.
var untold = make([]pgconn.FieldDescription, 1)

// findFor returns the statement to execute for r.
func (ln *Lane) findFor(r *Ride) *prepared {
	if r.text == r.st.SQL {
		return ln.findAs(r.st, r.desc)
	}
	// The text has comments, and the same comments may never come again. So the statement is not prepared under a name.
	return &prepared{sql: r.text, as: r.desc, sd: &pgconn.StatementDescription{Fields: r.desc.Fields}}
}

// findAs returns the prepared statement of st for arguments encoded for d. Its Parse may not have been sent yet. Another d's is dropped.
func (ln *Lane) findAs(st *catalog.Statement, d *catalog.Description) *prepared {
	if s, ok := ln.prepared[st]; ok {
		if s.as == d || d.IsLike(s.as.StatementDescription) {
			return s
		}
		ln.forget(s)
	}
	s := ln.add(st, st.SQL, d.Name(st.Key, ln.Baseline.Meaning), d.Fields)
	s.as = d
	return s
}

// add makes the prepared statement of key. If another statement has the same name, add forgets that one, since it is not used any more: for example, the
// catalog has forgotten a text and then made a new Statement of it.
func (ln *Lane) add(key any, sql, name string, fields []pgconn.FieldDescription) *prepared {
	s := &prepared{key: key, sql: sql}
	if !ln.Unnamed {
		s.name = name
		if i := slices.IndexFunc(ln.order, func(o *prepared) bool { return o.name == name }); i >= 0 {
			ln.forget(ln.order[i])
		}
		ln.surplus = slices.DeleteFunc(ln.surplus, func(n string) bool { return n == name }) // the Parse closes the old one
	}
	s.sd = &pgconn.StatementDescription{Name: s.name, Fields: fields}
	if ln.prepared == nil {
		ln.prepared = make(map[any]*prepared)
	}
	ln.prepared[key] = s
	ln.order = append(ln.order, s)
	if len(ln.order) > maxPrepared {
		ln.forget(ln.order[0])
	}
	return s
}

// forget drops s from the lane at once, and on the server with the next flight.
func (ln *Lane) forget(s *prepared) {
	if ln.prepared[s.key] != s {
		return
	}
	delete(ln.prepared, s.key)
	ln.order = slices.DeleteFunc(ln.order, func(o *prepared) bool { return o == s })
	if !ln.Unnamed {
		ln.surplus = append(ln.surplus, s.name) // deallocating a name that the server has lost is no error
	}
}

// takeSurplus returns the names to deallocate now.
func (ln *Lane) takeSurplus() (names []string) {
	names, ln.surplus = ln.surplus, nil
	return names
}

// parses reports whether s has to be Parsed before it is executed. From then on s counts as Parsed.
func (s *prepared) parses() bool {
	parse := !s.sent
	s.sent = s.name != ""
	return parse
}

// Kept returns ln, so that package facts can keep its questions prepared there, or nil if nothing may be prepared.
func (ln *Lane) Kept() facts.Kept {
	if ln.Unnamed {
		return nil
	}
	return ln
}

// Question implements [facts.Kept].
func (ln *Lane) Question(sql string) (sd *pgconn.StatementDescription, there bool) {
	s := ln.find(sql)
	return s.sd, s.sent
}

// Asked implements [facts.Kept].
func (ln *Lane) Asked(sql string, there bool) {
	s := ln.find(sql)
	if s.sent = there; !there {
		ln.forget(s)
	}
}
