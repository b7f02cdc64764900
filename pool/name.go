package pool

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash"

	"github.com/jackc/pgx/v5/pgconn"
)

// prefixOfNames is how the name of every prepared statement of the pool's own begins:
// what cleans a session, and what reads what is in it, leaves those out.
const prefixOfNames = "lmipool_"

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// statementName is the name under which text is prepared. It follows from the text and
// from all that changes what the text means: the connection's baseline, the settings that
// it runs with, and what d, if not nil, says that it takes and returns. A counter would not do:
// behind a pooler that nobody has announced a connection meets other sessions, where another
// connection has given the same number to another text. It is 60 bytes long; PostgreSQL
// keeps 63.
func statementName(kind, text, baseline, settings string, d *pgconn.StatementDescription) string {
	h := sha256.New()
	for _, s := range []string{kind, text, baseline, settings} {
		number(h, uint64(len(s)))
		h.Write([]byte(s))
	}
	if d != nil {
		number(h, uint64(len(d.ParamOIDs)))
		for _, oid := range d.ParamOIDs {
			number(h, uint64(oid))
		}
		for _, f := range d.Fields {
			number(h, uint64(f.DataTypeOID))
			number(h, uint64(uint32(f.TypeModifier)))
			number(h, uint64(f.TableOID)<<16|uint64(f.TableAttributeNumber))
			number(h, uint64(len(f.Name)))
			h.Write([]byte(f.Name))
		}
	}
	return prefixOfNames + nameEncoding.EncodeToString(h.Sum(nil))
}

func number(h hash.Hash, n uint64) {
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, n))
}
