package pgwire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// server answers what a wire sends, as PostgreSQL would: each Sync and Query with a
// ReadyForQuery. It skips to the Sync after a message with the word fail in it.
type server struct {
	got    []string // the messages, as kind and text
	answer bytes.Buffer
	skip   bool
	fatal  bool // a Query that fails ends the session
	ended  bool
}

func message(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

func (s *server) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := 1 + int(binary.BigEndian.Uint32(rest[1:]))
		kind, body := rest[0], string(rest[5:n])
		rest = rest[n:]
		s.got = append(s.got, string(kind)+body)
		fails := bytes.Contains([]byte(body), []byte("fail"))
		switch {
		case s.skip && kind != 'S':
		case fails:
			severity := "ERROR"
			if kind == 'Q' && s.fatal {
				severity = "FATAL"
			}
			e, _ := (&pgproto3.ErrorResponse{Severity: severity, Code: "57014", Message: body}).Encode(nil)
			s.answer.Write(e)
			if severity == "FATAL" {
				s.ended = true
				return len(b), nil
			}
			if kind == 'Q' {
				s.answer.Write(message('Z', "I"))
			} else {
				s.skip = true
			}
		case kind == 'P':
			s.answer.Write(message('1', ""))
		case kind == 'B':
			s.answer.Write(message('2', ""))
		case kind == 'E', kind == 'Q':
			s.answer.Write(message('T', body))
			s.answer.Write(message('S', "status of "+body))
			s.answer.Write(message('D', body))
			s.answer.Write(message('C', body))
			if kind == 'Q' { // a notification, which is for whoever was there before
				s.answer.Write(message('A', body))
				s.answer.Write(message('Z', "I"))
			}
		case kind == 'S':
			s.skip = false
			s.answer.Write(message('Z', "I"))
		}
	}
	return len(b), nil
}

// Read gives a few bytes at a time.
func (s *server) Read(b []byte) (int, error) {
	if s.answer.Len() == 0 {
		return 0, io.EOF
	}
	return s.answer.Read(b[:min(len(b), 1+rand.IntN(9))])
}

func execution(name string) []byte {
	return bytes.Join([][]byte{message('B', name), message('E', name), message('S', "")}, nil)
}

func part(name string) Prologue {
	return Prologue{Messages: bytes.Join([][]byte{message('P', name), message('B', name), message('E', name)}, nil), Replies: 1}
}

func whole(name string) Prologue {
	return Prologue{Messages: message('Q', name), Simple: true, Between: true}
}

// readAll is what pgx sees, as kind and text.
func readAll(t *testing.T, w *Conn) (seen []string) {
	t.Helper()
	b, err := io.ReadAll(w)
	require.NoError(t, err)
	for len(b) > 0 {
		n := 1 + int(binary.BigEndian.Uint32(b[1:]))
		kind, body := b[0], string(b[5:n])
		if kind == 'E' {
			body = "rror"
		}
		seen = append(seen, string(kind)+body)
		b = b[n:]
	}
	return seen
}

// Whatever travels in front of whatever, pgx sees the answers to its own messages and
// nothing else but what the server reports to everybody.
func TestAWireShowsPgxItsOwnAnswersOnly(t *testing.T) {
	t.Parallel()
	for range 2000 {
		s := &server{}
		w := New(s, s, new(atomic.Int64))
		var want []string
		for f := range 1 + rand.IntN(4) {
			broken := false
			wholes := rand.IntN(3) // in front of the part: one that fails takes all with it up to the Sync
			w.Bind(nil)
			for p := range wholes + rand.IntN(2) {
				name := fmt.Sprintf("own-%d-%d", f, p)
				fails := p >= wholes && rand.IntN(5) == 0
				if fails {
					name += "-fail"
				}
				switch {
				case !broken && fails:
					want = append(want, "Error")
				case !broken:
					want = append(want, "Sstatus of "+name)
				}
				if p < wholes {
					w.Queue(whole(name))
					continue
				}
				own := part(name)
				w.Bind(&own)
				broken = broken || fails
			}
			name := fmt.Sprintf("pgx-%d", f)
			n, err := w.Write(execution(name))
			require.NoError(t, err)
			assert.Equal(t, len(execution(name)), n, "pgx hears of its own bytes")
			if !broken {
				want = append(want, "2", "T"+name, "Sstatus of "+name, "D"+name, "C"+name)
			}
			require.Equal(t, append(want, "ZI"), readAll(t, w))
			want = nil
		}
		assert.Empty(t, w.replies.sent)
		assert.False(t, w.Busy())
		assert.Nil(t, w.Failure())
	}
}

func TestAWholePrefixThatFailsEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := &server{fatal: true}
	w := New(s, s, new(atomic.Int64))
	w.Queue(whole("fail"))
	_, err := w.Write(execution("pgx"))
	require.NoError(t, err)
	assert.Empty(t, readAll(t, w))
	require.NotNil(t, w.Failure(), "what was behind it has not run")

	s = &server{} // a server that goes on has run what was behind it
	w = New(s, s, new(atomic.Int64))
	w.Queue(whole("fail"))
	_, err = w.Write(execution("pgx"))
	require.NoError(t, err)
	_, err = io.ReadAll(w)
	require.ErrorContains(t, err, "was not reset")
	assert.Equal(t, pgerr.Unknown, pgerr.Classify(err, func(error) error { return nil }))
	assert.Equal(t, err, w.Failure())
}

func TestAWholePrefixCanGoAlone(t *testing.T) {
	t.Parallel()
	s := &server{}
	w := New(s, s, new(atomic.Int64))
	w.Queue(whole("own"))
	require.NoError(t, w.Flush())
	assert.Equal(t, []string{"Qown"}, s.got)
	_, err := w.Write(execution("pgx"))
	require.NoError(t, err)
	assert.Equal(t, []string{"Sstatus of own", "2", "Tpgx", "Sstatus of pgx", "Dpgx", "Cpgx", "ZI"}, readAll(t, w))
}

// What goes in front of each exchange does so until it is taken off, and is prepared once,
// unless it fails.
func TestWhatIsBoundTravelsWithEveryFlight(t *testing.T) {
	t.Parallel()
	s := &server{}
	w := New(s, s, new(atomic.Int64))
	bound := func(name string) *Prologue {
		p := part(name)
		p.Messages, p.Name, p.Prepare = p.Messages[len(message('P', name)):], "statement", func() []byte { return message('P', name) }
		p.Refused = func(err error) error { return err }
		return &p
	}
	send := func(b []byte) []string {
		s.got = nil
		_, err := w.Write(b)
		require.NoError(t, err)
		return s.got
	}
	w.Bind(bound("own"))
	assert.Equal(t, []string{"Pown", "Bown", "Eown", "Ppgx", "S"}, send(append(message('P', "pgx"), message('S', "")...)))
	assert.Equal(t, []string{"Sstatus of own", "1", "ZI"}, readAll(t, w))
	assert.Equal(t, []string{"Bown", "Eown", "Bpgx", "Epgx", "S"}, send(execution("pgx")))
	assert.Equal(t, []string{"Sstatus of own", "2", "Tpgx", "Sstatus of pgx", "Dpgx", "Cpgx", "ZI"}, readAll(t, w))
	_, err := w.Write(message('Q', "simple"))
	require.ErrorIs(t, err, ErrSimple)
	assert.Equal(t, []string{"S"}, send(message('S', "")))
	assert.Equal(t, []string{"ZI"}, readAll(t, w))

	w.Bind(bound("fail"))
	for _, want := range [][]string{{"Bfail", "Efail"}, {"Pfail", "Bfail", "Efail"}} { // the first was prepared
		assert.Equal(t, append(want, "Bpgx", "Epgx", "S"), send(execution("pgx")))
		assert.Equal(t, []string{"Error", "ZI"}, readAll(t, w))
		assert.NotNil(t, w.Declined())
	}
	w.Bind(nil)
	assert.Nil(t, w.Declined())
	assert.Equal(t, []string{"Bpgx", "Epgx", "S"}, send(execution("pgx")))
	assert.Equal(t, []string{"2", "Tpgx", "Sstatus of pgx", "Dpgx", "Cpgx", "ZI"}, readAll(t, w))
}

// What is bound while a BEGIN is held back follows it in the same segment: if one of them fails, the server runs nothing of it.
func TestABeginThatIsHeldBackTravelsWithWhatIsBound(t *testing.T) {
	t.Parallel()
	for _, of := range []struct{ begin, own, want string }{
		{"begin", "own", ""},
		{"begin", "own-fail", "own-fail"},
		{"begin fail", "own", "begin fail"},
	} {
		s := &server{}
		w := New(s, s, new(atomic.Int64))
		w.DeferBegin()
		_, err := w.Write(message('Q', of.begin+"\x00"))
		require.NoError(t, err)
		assert.Empty(t, s.got)
		assert.Equal(t, []string{"CBEGIN\x00", "ZT"}, readAll(t, w))
		own := part(of.own)
		own.Prepare, own.Refused = func() []byte { return nil }, func(err error) error { return err }
		w.Bind(&own)
		n, err := w.Write(execution("pgx"))
		require.NoError(t, err)
		assert.Equal(t, len(execution("pgx")), n)
		assert.Equal(t, "Bown", s.got[4][:4])
		assert.Len(t, s.got, 9, "P, B and E of BEGIN and of what is bound, and pgx's own")
		seen := readAll(t, w)
		switch of.want {
		case "":
			assert.Equal(t, "Bpgx", s.got[6])
			assert.Contains(t, seen, "Cpgx")
		default:
			assert.Contains(t, seen, "Error")
			assert.NotContains(t, seen, "Cpgx")
		}
		assert.Equal(t, of.want == "own-fail", w.Declined() != nil)
		assert.Equal(t, of.want == "begin fail", w.begin.state == beginFailed)
		assert.Empty(t, w.replies.sent)
	}
}
