package pgwire

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A message that pgx has half of when something goes in front of its next exchange stays whole,
// and its second half is not taken for another message.
func TestAMessageThatIsReadInTwoStaysWhole(t *testing.T) {
	t.Parallel()
	async := message('A', "a notification with \x00\x00\x00\x05 and Z in it")
	for cut := range len(async) + 1 {
		s := &server{}
		w := New(s, s, new(atomic.Int64))
		s.answer.Write(async[:cut])
		first := make([]byte, 0, len(async))
		for s.answer.Len() > 0 {
			b := make([]byte, 64)
			n, err := w.Read(b)
			require.NoError(t, err)
			first = append(first, b[:n]...)
		}
		s.answer.Write(async[cut:])
		own := part("own")
		w.Bind(&own)
		_, err := w.Write(execution("pgx"))
		require.NoError(t, err)
		rest, err := io.ReadAll(w)
		require.NoError(t, err)
		want := bytes.Join([][]byte{
			async, message('S', "status of own"), message('2', ""), message('T', "pgx"), message('S', "status of pgx"),
			message('D', "pgx"), message('C', "pgx"), message('Z', "I"),
		}, nil)
		require.Equal(t, want, append(first, rest...), cut)
	}
}

// In whatever pieces the answers come: a statement counts as refused if it was prepared before
// and the error comes before it is bound, and the ends of transactions are seen.
func TestAnswersAreUnderstoodInAnyPieces(t *testing.T) {
	t.Parallel()
	sync, bind, execute := message('S', ""), message('B', "x"), message('E', "x")
	noise := [][]byte{message('N', "COMMIT\x00"), message('S', "2E"), message('D', "COMMIT\x00"), message('D', ""), message('A', strings.Repeat("C", 70))}
	type exchange struct {
		asked   []byte
		answer  []byte
		refused bool
	}
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	exchanges := map[string]exchange{
		"refused":              {join(bind, execute, sync), join(message('E', "no"), message('Z', "I")), true},
		"failed":               {join(bind, execute, sync), join(message('2', ""), message('E', "no"), message('Z', "I")), false},
		"prepared with it":     {join(message('P', "x"), bind, execute, sync), join(message('E', "no"), message('Z', "I")), false},
		"prepared only":        {join(message('P', "x"), sync), join(message('E', "no"), message('Z', "I")), false},
		"simple":               {message('Q', "x"), join(message('E', "no"), message('Z', "I")), false},
		"two":                  {join(bind, execute, bind, execute, sync), join(message('E', "no"), message('Z', "I")), false},
		"cut":                  {bind[:3], message('E', "no"), false},
		"cut behind":           {join(bind, execute[:3]), message('E', "no"), false},
		"described on its way": {join(bind, message('D', "P"), execute, sync), join(message('E', "no"), message('Z', "I")), true},
	}
	transactions := map[string]bool{ // what is said, one after the other, and whether one that was open has ended
		"COMMIT": true, "PREPARE TRANSACTION": true, "I": true, "ROLLBACK|BEGIN": true, "ROLLBACK|START TRANSACTION": true,
		"ROLLBACK|SAVEPOINT": false, "BEGIN|ROLLBACK": false, "COMMIT PREPARED": false, "ROLLBACK PREPARED|BEGIN": false, "T": false, "E": false,
		"COPY 5": false, "": false, "PREPARE TRANSACTION AND MORE": false, "COMMI": false, "COMMITS": false,
	}
	tell := func(what string) (b []byte) {
		for word := range strings.SplitSeq(what, "|") {
			if len(word) == 1 {
				b = append(b, message('Z', word)...)
			} else {
				b = append(b, message('C', word+"\x00")...)
			}
		}
		return b
	}
	for range 300 {
		var a Conn
		say := func(b []byte) {
			for len(b) > 0 {
				n := min(len(b), 1+rand.IntN(20))
				a.receive(b[:n])
				b = b[n:]
			}
		}
		for what, f := range exchanges {
			a.asked(f.asked)
			say(join(noise[rand.IntN(len(noise))], f.answer))
			assert.Equal(t, f.refused, a.last.Load() == lastRefused, what)
		}
		for what, want := range transactions {
			a.tx.Store(0)
			say(join(noise[rand.IntN(len(noise))], tell(what)))
			assert.Equal(t, want, a.tx.Load()&ended != 0, what)
		}
	}
}
