package lane

import (
	"log/slog"
	"slices"
	"sync/atomic"

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

// MaxFlight is how many reads ride together at most: what is sent cannot be called back, and waits for what is in front of it.
const MaxFlight = 32

// Config is what the lanes of a pool are told once.
type Config struct {
	Sched     *sched.Scheduler
	Functions []string                      // of the user's, which are harmless
	Gone      func(*sched.Request) error    // as [sched.Config] has it
	Lost      func()                        // hears of a connection that was lost
	Protect   func(what string, run func()) // runs code of the user's, which may panic
	Tracer    pgx.QueryTracer               // nil: none
	Closed    *pgx.Conn                     // for the tracer
	Log       *slog.Logger
}

// Shared is what the lanes of a pool have in common.
type Shared struct {
	Config
	Catalog   *catalog.Store
	Baselines *facts.Baselines
	types     memrows.Pairs

	rides, flights, refusals atomic.Int64
}

// NewShared makes it for a pool that has no connection yet.
func NewShared(c Config) *Shared {
	s := &Shared{Config: c}
	s.Baselines = facts.NewBaselines(facts.Config{Allowed: facts.Allowed(c.Functions), Rides: s.rides.Load, Lost: pgerr.IsLost})
	s.Catalog = catalog.NewStore(s.Baselines.Newest)
	return s
}

// Stat returns how many have ridden, on how many flights, and how many of them the guard has stopped.
func (s *Shared) Stat() (rides, flights, refusals int64) {
	return s.rides.Load(), s.flights.Load(), s.refusals.Load()
}

// Conn is what a lane is told of its connection, once.
type Conn struct {
	PG       *pgx.Conn
	Facts    *facts.Facts
	Types    *memrows.Maps
	Baseline *session.Baseline
	Expired  func() bool // it is not to be used any more
	Unnamed  bool        // behind a pooler each segment prepares for itself, without a name
}

// Lane is the part of a connection that only flights use. It belongs to whom the connection belongs to.
type Lane struct {
	Conn
	of      *Shared
	guard   *session.Guard
	guarded bool // the session guard is on

	prepared map[any]*prepared // by *catalog.Statement, or by a text of the pool's own
	order    []*prepared       // the same, the oldest first
	surplus  []string          // names to deallocate with the next flight
	stale    []*prepared       // became useless, and are to be described anew before the next group boards
}

// New makes the lane of a connection.
func New(s *Shared, c Conn) *Lane {
	return &Lane{Conn: c, of: s, guard: c.Baseline.Guard(), prepared: make(map[any]*prepared)}
}

// Intact reports whether nobody else has changed what the guard sets.
func (ln *Lane) Intact() bool { return ln.guard.Intact(ln.PG.PgConn(), ln.guarded) }

// Kept is where the questions of facts are prepared; nil: nowhere.
func (ln *Lane) Kept() facts.Kept {
	if ln.Unnamed {
		return nil
	}
	return ln
}

// Question and Asked are [facts.Kept].
func (ln *Lane) Question(sql string) (sd *pgconn.StatementDescription, there bool) {
	s := ln.find(sql)
	return s.sd, s.sent
}

func (ln *Lane) Asked(sql string, there bool) {
	s := ln.find(sql)
	if s.sent = there; !there {
		ln.forget(s)
	}
}

// maxPrepared is how many statements a connection keeps prepared for lanes.
const maxPrepared = 256

// prepared is a statement that this connection has Parsed and Described for itself, under a name that is the lanes' alone: another connection's
// description can be wrong here without any error, and pgx's names are pgx's. On an unnamed lane it is Parsed and Described each time.
type prepared struct {
	key  any // in Lane.prepared
	sql  string
	name string
	sent bool                 // its Parse was sent, and did not fail
	as   *catalog.Description // what its riders' arguments are encoded for; nil: it is the pool's own
	sd   *pgconn.StatementDescription
	verified
}

// find returns the statement of a text of the pool's own, which may still have to be sent.
func (ln *Lane) find(sql string) *prepared {
	if s, ok := ln.prepared[sql]; ok {
		return s
	}
	return ln.add(sql, sql, sqltext.StatementName("own", sql, ln.Baseline.Meaning), untold)
}

// untold are columns of which nobody wants to know what they are: without any, pgx would ask the server.
var untold = make([]pgconn.FieldDescription, 1)

// findFor returns the statement that r is executed by.
func (ln *Lane) findFor(r *Ride) *prepared {
	if r.text == r.st.SQL {
		return ln.findAs(r.st, r.desc)
	}
	// Its comments may never come again, so it gets no name.
	return &prepared{sql: r.text, as: r.desc, sd: &pgconn.StatementDescription{Fields: r.desc.Fields}}
}

// findAs returns st's statement as it is described by d, which may still have to be sent. One that was described in another way is dropped.
func (ln *Lane) findAs(st *catalog.Statement, d *catalog.Description) *prepared {
	if s, ok := ln.prepared[st]; ok {
		if s.as == d || s.as != nil && d.IsLike(s.as.StatementDescription) {
			return s
		}
		ln.forget(s)
	}
	s := ln.add(st, st.SQL, d.Name(st.Key, ln.Baseline.Meaning), d.Fields)
	s.as = d
	return s
}

// add makes the statement of key. A name is used for what is prepared now: whoever had it before, such as the same text before the catalog had
// forgotten it, has no use for it.
func (ln *Lane) add(key any, sql, name string, fields []pgconn.FieldDescription) *prepared {
	s := &prepared{key: key, sql: sql}
	if !ln.Unnamed {
		s.name = name
		if i := slices.IndexFunc(ln.order, func(o *prepared) bool { return o.name == name }); i >= 0 {
			ln.forget(ln.order[i])
		}
		ln.surplus = slices.DeleteFunc(ln.surplus, func(n string) bool { return n == name }) // its Parse closes it
	}
	s.sd = &pgconn.StatementDescription{Name: s.name, Fields: fields}
	ln.prepared[key] = s
	ln.order = append(ln.order, s)
	if len(ln.order) > maxPrepared {
		ln.forget(ln.order[0])
	}
	return s
}

// forget drops s, here and, with the next flight, on the server.
func (ln *Lane) forget(s *prepared) {
	if ln.prepared[s.key] != s {
		return
	}
	delete(ln.prepared, s.key)
	ln.order = slices.DeleteFunc(ln.order, func(o *prepared) bool { return o == s })
	if !ln.Unnamed {
		ln.surplus = append(ln.surplus, s.name) // no error if the server has lost it
	}
}

// forgetStale forgets s and has it described anew.
func (ln *Lane) forgetStale(s *prepared) {
	if ln.forget(s); s.name != "" && !slices.ContainsFunc(ln.stale, func(o *prepared) bool { return o.key == s.key }) {
		ln.stale = append(ln.stale, s)
	}
}

// upkeep returns what is to be done beside what rides: names to deallocate, and statements to describe anew.
func (ln *Lane) upkeep() (surplus []string, stale []*prepared) {
	surplus, stale = ln.surplus, ln.stale
	ln.surplus, ln.stale = nil, nil
	return surplus, stale
}

// parses reports whether s has to be Parsed in front of its execution, and notes that it was.
func (s *prepared) parses() bool {
	parse := !s.sent
	s.sent = s.name != ""
	return parse
}
