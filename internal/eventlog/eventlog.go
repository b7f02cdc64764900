// Package eventlog keeps the last events of a pool that are rare and say much, and writes them as one line when something went wrong. So the log of an
// environment that broke says what came before.
package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/observe"
)

const (
	// most is how many entries are kept. They need less than 64 kB in memory and in the log, where CloudWatch takes 256 kB in one line.
	most = 256
	// writeEvery is how often a line is written at most, except at the end of the process: what goes wrong at each invocation must not fill the log.
	writeEvery = time.Minute
)

// Log is an observer that keeps events. It hears of nothing that happens with each statement, so it costs nothing while all is well.
type Log struct {
	log *slog.Logger

	mu      sync.Mutex
	entries []entry // the last ones, the oldest first
	wrote   time.Time
}

// entry is one event, or several of the same kind that came one after the other. It has no literal of a statement and no value of a panic.
type entry struct {
	At        time.Time `json:"at"`
	What      string    `json:"what"`
	Why       string    `json:"why,omitempty"`
	Ms        float64   `json:"ms,omitempty"`
	N         int       `json:"n,omitempty"`     // how many there were, if not one
	Until     time.Time `json:"until,omitzero"`  // when the last of them was
	From      int       `json:"from,omitempty"`  // of a limit
	To        int       `json:"to,omitempty"`    // of a limit, or how many handlers overrun
	Place     string    `json:"place,omitempty"` // in the user's code, innermost
	SQL       string    `json:"sql,omitempty"`
	Error     string    `json:"error,omitempty"` // of a statement, only its SQLSTATE
	Server    string    `json:"server,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
}

// New returns a Log that writes to log.
func New(log *slog.Logger) *Log { return &Log{log: log} }

// mostText bounds the texts of an entry.
const mostText = 200

// keep adds e. If e says the same as the last entry, it is counted there.
func (l *Log) keep(e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.entries); n > 0 {
		last := &l.entries[n-1]
		if last.What == e.What && last.Why == e.Why && last.Place == e.Place && last.SQL == e.SQL && last.Error == e.Error && last.To == e.To && last.From == e.From {
			last.N, last.Until = max(last.N, 1)+1, e.At
			return
		}
	}
	if len(l.entries) == most {
		l.entries = append(l.entries[:0], l.entries[1:]...)
	}
	l.entries = append(l.entries, e)
}

// Format writes what l is. What is in it changes meanwhile, and may be printed with a Config that has l among its Observers.
func (*Log) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.EventLog") }

// AtSIGTERM is why the events are written when the environment ends.
const AtSIGTERM = "SIGTERM"

// Write writes what was kept since the last line, because of why. Unless always is true, it does so once in writeEvery at most.
func (l *Log) Write(why string, always bool) {
	now := time.Now()
	l.mu.Lock()
	if len(l.entries) == 0 || !always && !l.wrote.IsZero() && now.Sub(l.wrote) < writeEvery {
		l.mu.Unlock()
		return
	}
	entries := l.entries
	l.entries, l.wrote = nil, now
	l.mu.Unlock()
	events, err := json.Marshal(entries)
	if err != nil {
		return // it has only times, numbers and texts
	}
	if why == AtSIGTERM { // nothing has gone wrong
		l.log.Info("lmipool: the last events", slog.String("because", why), slog.Any("events", json.RawMessage(events)))
		return
	}
	l.log.Warn("lmipool: the last events", slog.String("because", why), slog.Any("events", json.RawMessage(events)))
}

// state returns what kind of error err is. Its text may have values of a statement in it.
func state(err error) string {
	var pg interface{ SQLState() string }
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pg):
		return pg.SQLState()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "ctx"
	}
	return "other"
}

func address(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func first(place []string) string {
	if len(place) == 0 {
		return ""
	}
	return place[0]
}

func (l *Log) ObserveSlow(_ context.Context, e observe.Statement) {
	l.keep(entry{At: e.End, What: "slow statement", Why: e.Alone, Ms: safelog.Milliseconds(e.End.Sub(e.Asked)), SQL: cut(e.Text()), Error: state(e.Err), RequestID: e.RequestID})
}

func cut(s string) string { return s[:min(len(s), mostText)] }

func (l *Log) ObserveDial(_ context.Context, e observe.Dial) {
	failed := ""
	if e.Err != nil {
		failed = cut(e.Err.Error())
	}
	l.keep(entry{At: e.End, What: "dial", Ms: safelog.Milliseconds(e.End.Sub(e.Start)), Error: failed, Server: address(e.Server)})
}

func (l *Log) ObserveCancel(_ context.Context, e observe.Cancel) {
	why := "answered"
	if e.Lost {
		why = "connection lost"
	}
	l.keep(entry{At: e.End, What: "cancel", Why: why, Ms: safelog.Milliseconds(e.End.Sub(e.Start)), Server: address(e.Server)})
}

func (l *Log) ObserveLimit(_ context.Context, e observe.Limit) {
	l.keep(entry{At: e.At, What: "limit", Why: e.Why, From: e.From, To: e.To})
}

func (l *Log) ObserveRefused(_ context.Context, e observe.Refusal) {
	l.keep(entry{At: e.At, What: "refused", Why: string(e.Reason), RequestID: e.RequestID})
}

func (l *Log) ObservePanic(_ context.Context, e observe.Panic) {
	l.keep(entry{At: e.At, What: "panic", Why: e.In, Place: first(e.Place), RequestID: e.RequestID})
}

func (l *Log) ObserveLeak(_ context.Context, e observe.Leak) {
	l.keep(entry{At: e.At, What: "leak", Why: e.For, Ms: safelog.Milliseconds(e.Held), Place: first(e.Place), SQL: cut(observe.Text(e.SQL)), RequestID: e.RequestID})
	l.Write("a leak", false)
}

func (l *Log) ObserveFence(_ context.Context, e observe.Fence) {
	l.keep(entry{At: e.At, What: "fence", Why: e.Why, Server: address(e.Server)})
	l.Write("a fence", false)
}

func (l *Log) ObserveOverrun(_ context.Context, e observe.Overrun) {
	l.keep(entry{At: e.At, What: "overrun", Ms: safelog.Milliseconds(e.At.Sub(e.Start)), To: e.Overrunning, RequestID: e.RequestID})
	go l.Write("an overrun", false) // the reply in the handler's place must not wait
}

func (l *Log) ObserveStandDown(_ context.Context, e observe.StandDown) {
	l.keep(entry{At: e.At, What: "stand-down", Why: e.Why})
	go l.Write("standing down", true)
}
