package pgwire

import (
	"bytes"
	"encoding/binary"
	"io"
)

// terminate is the protocol's Terminate message.
var terminate = []byte{'X', 0, 0, 0, 4}

// Terminate writes the protocol's Terminate message to w.
func Terminate(w io.Writer) error {
	_, err := w.Write(terminate)
	return err
}

// Cut cuts the first message off b. If b ends inside the first message, whole is false and rest is nil.
func Cut(b []byte) (kind byte, body, rest []byte, whole bool) {
	if len(b) < 5 {
		return 0, nil, nil, false
	}
	n := max(5, 1+int(binary.BigEndian.Uint32(b[1:])))
	if n > len(b) {
		return b[0], b[5:], nil, false
	}
	return b[0], b[5:n], b[n:], true
}

// content says what is in a packet that pgx sends.
type content struct {
	prepares, executes, simple bool  // say whether the packet has a Parse, an Execute, a simple Query
	unnamed                    bool  // says whether the packet executes an unnamed statement that an earlier packet has prepared
	whole                      bool  // says whether the packet ends where a message ends
	binds                      int   // counts the packet's Binds
	exchanges                  int32 // counts the messages that the server answers with ReadyForQuery: Query, Sync and FunctionCall
}

func contentOf(b []byte) (c content) {
	for len(b) > 0 {
		var kind byte
		var body []byte
		switch kind, body, b, c.whole = Cut(b); kind {
		case 'P':
			c.prepares = true
		case 'B':
			if c.binds == 0 && !c.prepares {
				_, statement, _ := bytes.Cut(body, []byte{0}) // the statement's name follows the portal's name
				c.unnamed = len(statement) > 0 && statement[0] == 0
			}
			c.binds++
		case 'E':
			c.executes = true
		case 'Q':
			c.simple = true
			c.exchanges++
		case 'S', 'F':
			c.exchanges++
		}
	}
	return c
}

// inParts returns sql as Parse, Bind and Execute, unnamed and without a Sync.
func inParts(sql string) []byte {
	m := append([]byte{'P', 0, 0, 0, 0, 0}, sql...)
	m = append(m, 0, 0, 0)
	binary.BigEndian.PutUint32(m[1:], uint32(len(m)-1))
	m = append(m, 'B', 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(m, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
}
