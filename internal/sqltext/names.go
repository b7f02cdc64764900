package sqltext

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

// namePrefix begins the name of every statement that the pool prepares for itself. A reset does not touch these names, and the query that reads what a
// session has leaves them out.
const namePrefix = "lmipool_"

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// StatementName returns the name under which a text is prepared. parts are the text and all that decides what it means: its connection's baseline,
// the settings under which it runs, its parameters and columns. The name is a hash of parts and not a counter: behind a pooler that was not declared, a
// connection meets other sessions, in which another connection may have given the same number to another text. The name has 60 bytes, since PostgreSQL
// keeps 63.
func StatementName(parts ...string) string {
	h := sha256.New()
	for _, s := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	return namePrefix + nameEncoding.EncodeToString(h.Sum(nil))
}

// TextArray returns names as a text[] in text format.
func TextArray(names []string) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(n) + `"`)
	}
	b.WriteByte('}')
	return []byte(b.String())
}
