package pgdial

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Standing says whether a server writes.
type Standing uint8

const (
	Writes    Standing = iota
	StandsBy           // it is a standby
	ReadsOnly          // its own configuration makes it read-only, for this session too
)

// readOnlySetting is what a session is read-only by, or writes, as long as its transactions do not say.
const readOnlySetting = "default_transaction_read_only"

// askStanding asks for it. It is the configuration's doing only if pg_settings says so: what a role, a
// database, the connection string or somebody in the session has set says nothing of the server. pg_settings is
// slow to read, and is not read unless the session is read-only.
const askStanding = `select case when pg_catalog.pg_is_in_recovery() then 1
	when pg_catalog.current_setting('` + readOnlySetting + `') operator(pg_catalog.=) 'on' and exists(select from pg_catalog.pg_settings
		where name operator(pg_catalog.=) '` + readOnlySetting + `' and source operator(pg_catalog.=) any ('{configuration file,command line}')) then 2
	else 0 end`

// StandingOf asks the server behind pc how it stands. Not by a simple Query, in front of which
// settings cannot travel.
func StandingOf(ctx context.Context, pc *pgconn.PgConn) (Standing, error) {
	r := pc.ExecParams(ctx, askStanding, nil, nil, nil, nil).Read()
	if r.Err != nil || len(r.Rows) != 1 {
		return Writes, r.Err
	}
	switch string(r.Rows[0][0]) {
	case "1":
		return StandsBy, nil
	case "2":
		return ReadsOnly, nil
	}
	return Writes, nil
}
