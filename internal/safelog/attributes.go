package safelog

import (
	"log/slog"
	"time"
)

// Request returns the attribute that says which invocation a line is about. It has the name that lambdacontext.NewLogHandler gives it, so that one
// query finds the user's lines and the library's. For an empty id, which is none, it returns an empty attribute, which slog leaves out.
func Request(id string) slog.Attr {
	if id == "" {
		return slog.Attr{}
	}
	return slog.String("requestId", id)
}

// Ms returns d in milliseconds under the name of the attribute and "_ms". A JSON log would show a slog.Duration as nanoseconds without a unit.
func Ms(name string, d time.Duration) slog.Attr { return slog.Float64(name+"_ms", Milliseconds(d)) }

// Milliseconds returns d in milliseconds, to the microsecond.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)/time.Microsecond) / 1000
}
