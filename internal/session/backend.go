package session

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Backend is one server process: its number, and when its server was started, since two servers
// behind one pooler count from the same number on.
type Backend struct {
	PID   uint32
	since int64
}

const backendSQL = `pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time()`

// WhoAnswers asks which process runs what pc sends.
func WhoAnswers(ctx context.Context, pc *pgconn.PgConn) (Backend, error) {
	// binary, which no setting changes
	r := pc.ExecParams(ctx, "select "+backendSQL, nil, nil, nil, []int16{pgx.BinaryFormatCode}).Read()
	if r.Err != nil {
		return Backend{}, r.Err
	}
	return backendOf(r.Rows[0])
}

// backendOf decodes the columns of backendSQL, in binary.
func backendOf(row [][]byte) (b Backend, err error) {
	if len(row) != 2 || len(row[0]) != 4 || len(row[1]) != 8 {
		return b, errors.New("lmipool: no answer to pg_backend_pid()")
	}
	return Backend{binary.BigEndian.Uint32(row[0]), int64(binary.BigEndian.Uint64(row[1]))}, nil
}
