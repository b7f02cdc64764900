package pool

import "time"

// NeverSlow has reads ride however long they took before, and as many as there is
// room for: on a busy machine any statement can look slow. Call it before use.
func (p *Pool) NeverSlow() {
	p.lanes.catalog.slow = time.Hour
	p.adm.maxFlightTime = time.Hour
}

// SlowAbove moves the bound.
func (p *Pool) SlowAbove(d time.Duration) { p.lanes.catalog.slow = d }

// The wrappers by which the pool says what had happened when an error came.
func RolledBack(err error) error    { return &rolledBackError{err} }
func Sent(err error) error          { return &sentError{err} }
func Unsent(err error) error        { return &unsentError{"it", err} }
func Canceled(why, err error) error { return &canceledError{why, err} }

// WithoutArgument is err without the argument that pgx could not encode.
func WithoutArgument(err error) error { return withoutArgument(err) }

// AskMeaning is what the server is asked for what decides the meaning of texts.
const AskMeaning = askMeaning
