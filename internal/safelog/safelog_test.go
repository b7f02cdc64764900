package safelog

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
)

// boom is a Handler of the user's that panics in one of its methods.
type boom struct {
	slog.Handler
	in string
}

func (b boom) at(s string) {
	if s == b.in {
		panic("boom")
	}
}
func (b boom) Enabled(context.Context, slog.Level) bool { b.at("Enabled"); return true }
func (b boom) Handle(ctx context.Context, r slog.Record) error {
	b.at("Handle")
	return b.Handler.Handle(ctx, r)
}

func (b boom) WithAttrs(a []slog.Attr) slog.Handler {
	b.at("WithAttrs")
	return boom{b.Handler.WithAttrs(a), b.in}
}

func (b boom) WithGroup(name string) slog.Handler {
	b.at("WithGroup")
	return boom{b.Handler.WithGroup(name), b.in}
}

// A Handler may panic in any of its methods: who logs does not.
func TestAPanicOfAHandlerStaysInside(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"Enabled", "Handle", "WithAttrs", "WithGroup", ""} {
		var out bytes.Buffer
		l := Guard(slog.New(boom{slog.NewTextHandler(&out, nil), in}))
		assert.Same(t, l, Guard(l), "twice is once")
		assert.NotPanics(t, func() { l.With("a", 1).WithGroup("g").Error("said", "b", 2) }, in)
		switch in {
		case "":
			assert.Contains(t, out.String(), "msg=said a=1 g.b=2")
		case "WithAttrs":
			assert.Contains(t, out.String(), "msg=said g.b=2")
		case "WithGroup":
			assert.Contains(t, out.String(), "msg=said a=1 b=2")
		}
	}
}
