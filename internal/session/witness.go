package session

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgwire"
)

// witness is a prepared statement whose absence tells that somebody has deallocated all,
// also those that pgx relies on.
const witness = "lmipool_witness"

// LeaveWitness prepares the witness.
func LeaveWitness() pgwire.Prologue {
	b, _ := (&pgproto3.Parse{Name: witness, Query: "select"}).Encode(nil)
	b, _ = (&pgproto3.Sync{}).Encode(b)
	return pgwire.Prologue{Messages: b, Simple: true}
}
