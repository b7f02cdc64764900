package sqltext

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
)

// namePrefix is how the name of every prepared statement of the pool's own begins:
// what cleans a session, and what reads what is in it, leaves those out.
const namePrefix = "lmipool_"

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// StatementName is the name under which a text is prepared. It follows from the text and from all that changes what the text
// means, which are the parts: its connection's baseline, the settings that it runs with, what it takes and returns. A counter
// would not do: behind a pooler that nobody has announced a connection meets other sessions, where another connection has given
// the same number to another text. It is 60 bytes long; PostgreSQL keeps 63.
func StatementName(parts ...string) string {
	h := sha256.New()
	for _, s := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	return namePrefix + nameEncoding.EncodeToString(h.Sum(nil))
}
