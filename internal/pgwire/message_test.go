package pgwire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What pgx sends is understood, also if a message that it has itself made is cut, or says that it is shorter than it is.
func TestWhatIsInAFlight(t *testing.T) {
	t.Parallel()
	parse, sync := message('P', "\x00select 1\x00"), message('S', "")
	unnamed, named := message('B', "portal\x00\x00"), message('B', "\x00name\x00")

	for _, c := range []struct {
		sent []byte
		want content
	}{
		{nil, content{}},
		{[]byte{'Q', 0, 0}, content{}},
		{[]byte{'B', 0, 0, 0, 0}, content{binds: 1, whole: true}},
		{message('Q', "x"), content{simple: true, exchanges: 1, whole: true}},
		{join(parse, sync), content{prepares: true, exchanges: 1, whole: true}},
		{join(parse, unnamed, sync), content{prepares: true, binds: 1, exchanges: 1, whole: true}},
		{join(unnamed, message('E', ""), sync), content{executes: true, unnamed: true, binds: 1, exchanges: 1, whole: true}},
		{join(named, unnamed, message('F', "")), content{binds: 2, exchanges: 1, whole: true}},
		{message('B', "portal\x00\x00\x00\x00")[:14], content{unnamed: true, binds: 1}},
	} {
		assert.Equal(t, c.want, contentOf(c.sent), "%q", c.sent)
	}
}

func TestWhatIsSentIsWrittenDown(t *testing.T) {
	t.Parallel()
	var r recorder
	_, ok := r.Recorded()
	require.False(t, ok)
	r.Record()
	r.note([]byte("a"))
	resume := r.PauseRecord()
	r.note([]byte("b"))
	r.Watch([]string{"before"})
	r.note(join(message('P', "name\x00select 1\x00"), message('B', "\x00before\x00"), message('Q', "select 2\x00")))
	resume()
	r.note([]byte("cdefg"))
	all, ok := r.Recorded()
	require.True(t, ok)
	assert.Equal(t, "acdefg", string(all))
	r.note(message('B', "\x00name\x00"))
	w, ok := r.Watched()
	require.True(t, ok)
	assert.Equal(t, Watched{Parsed: []string{"select 1"}, Said: []string{"select 2"}, Names: []string{"before", "name"}, Unseen: true}, w, "for the message that is cut")
	_, ok = r.Watched()
	require.False(t, ok)
	assert.False(t, r.wanted.Load())
}

func join(b ...[]byte) []byte { return bytes.Join(b, nil) }
