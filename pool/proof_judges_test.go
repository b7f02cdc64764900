package pool_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// The judges of a statement are the server's: the tree into which it has rewritten the statement, which names every function
// by its oid, and the planted functions themselves, which say their names when they run. The tree does not show what planning,
// sorting, domains and I/O run; running does not reach what no row needs.

// judgeConn runs statements in pipelines, each in a segment of its own, and collects what the server says of each.
type judgeConn struct {
	front *pgproto3.Frontend
	conn  net.Conn
}

// sentence is what came of one statement.
type sentence struct {
	tree []string // functions of the user's own in its tree
	ran  []string // planted functions that ran
	code string   // the error's SQLSTATE; "" for none
	err  string
	done bool // it was prepared without an error
}

func (s *sentence) hit() bool { return len(s.tree)+len(s.ran) > 0 }

func connectJudge(ctx context.Context, dsn string, settings ...string) (*judgeConn, error) {
	pc, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	for _, s := range settings {
		if err := pc.Exec(ctx, s).Close(); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	h, err := pc.Hijack()
	if err != nil {
		return nil, err
	}
	return &judgeConn{front: h.Frontend, conn: h.Conn}, nil
}

func (j *judgeConn) close() {
	j.front.Send(&pgproto3.Terminate{})
	j.front.Flush()
	j.conn.Close()
}

// judge runs statements; those that write are rolled back.
func (j *judgeConn) judge(statements []generated, names userCode) ([]sentence, error) {
	for _, s := range statements {
		if s.writes {
			j.front.SendQuery(&pgproto3.Query{String: "begin"})
		}
		j.front.SendParse(&pgproto3.Parse{Query: s.sql})
		bind := &pgproto3.Bind{}
		for _, a := range s.args {
			bind.Parameters = append(bind.Parameters, []byte(a))
		}
		j.front.SendBind(bind)
		j.front.SendExecute(&pgproto3.Execute{})
		j.front.SendSync(&pgproto3.Sync{})
		if s.writes {
			j.front.SendQuery(&pgproto3.Query{String: "set constraints all immediate"})
			j.front.SendQuery(&pgproto3.Query{String: "rollback"})
		}
	}
	sent := make(chan error, 1)
	go func() { sent <- j.front.Flush() }() // beside the reading: both sides' buffers may fill
	said := make([]sentence, len(statements))
	for i, s := range statements {
		ready := 1
		if s.writes {
			ready = 4
		}
		main := !s.writes // of a write, the second segment is the statement's own
		for n := 0; n < ready; {
			msg, err := j.front.Receive()
			if err != nil {
				return nil, err
			}
			switch m := msg.(type) {
			case *pgproto3.ReadyForQuery:
				n++
				main = n == 1
			case *pgproto3.NoticeResponse:
				said[i].notice(m.Message, m.Detail, names)
			case *pgproto3.ParseComplete:
				said[i].done = true
			case *pgproto3.ErrorResponse:
				if main {
					said[i].code, said[i].err = m.Code, m.Message
				}
			}
		}
	}
	return said, <-sent
}

// notice takes up what the server says beside its answer.
func (s *sentence) notice(message, detail string, names userCode) {
	if name, ok := strings.CutPrefix(message, "planted "); ok {
		s.ran = addNew(s.ran, name)
		return
	}
	if message != "rewritten parse tree:" {
		return
	}
	for _, m := range treeOID.FindAllStringSubmatch(detail, -1) {
		for word := range strings.FieldsSeq(strings.Trim(m[2], "()")) {
			oid, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				continue
			}
			of := names.functions
			if strings.HasPrefix(m[1], "op") && m[1] != "opfuncid" || strings.HasSuffix(m[1], "op") {
				of = names.operators
			}
			if name := of[uint32(oid)]; name != "" {
				s.tree = addNew(s.tree, name)
			}
		}
	}
}

// treeOID is a field of a node that holds the oid of a function or an operator, or several.
var treeOID = regexp.MustCompile(`:(funcid|opfuncid|aggfnoid|winfnoid|opno|opnos|eqop|sortop|startInRangeFunc|endInRangeFunc|cycle_mark_neop|tsmhandler|elemfuncid|negfuncid|hashfuncid)\s+(\d+|\(o[\d\s]+\))`) // lines are broken anywhere between words

func addNew(to []string, name string) []string {
	if slices.Contains(to, name) {
		return to
	}
	return append(to, name)
}

// userCode is the functions of the user's own, and the operators that call one, by oid.
type userCode struct{ functions, operators map[uint32]string }

// readUserCode reads what is the user's own: not what comes with PostgreSQL, nor is written in C or is PostgreSQL's own code
// under another name, nor what an extension says is not volatile.
func readUserCode(ctx context.Context, pc *pgconn.PgConn) (userCode, error) {
	u := userCode{make(map[uint32]string), make(map[uint32]string)}
	const own = `select p.oid, p.proname from pg_proc p join pg_language l on l.oid = p.prolang
		where p.oid >= 16384 and (l.lanname not in ('c', 'internal') or p.prokind = 'a') and not (p.provolatile <> 'v' and
		exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'))`
	for into, sql := range map[*map[uint32]string]string{
		&u.functions: own,
		&u.operators: `with own as (` + own + `) select o.oid, own.proname from pg_operator o join own on own.oid = o.oprcode`,
	} {
		r := pc.ExecParams(ctx, sql, nil, nil, nil, nil).Read()
		if r.Err != nil {
			return u, r.Err
		}
		for _, row := range r.Rows {
			oid, err := strconv.ParseUint(string(row[0]), 10, 32)
			if err != nil {
				return u, err
			}
			(*into)[uint32(oid)] = string(row[1])
		}
	}
	return u, nil
}
