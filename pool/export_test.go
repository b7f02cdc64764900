package pool

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

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

// Findings says why the pool would not let sql ride, were it short: "" if it is proven that no code of the user's own
// runs. It asks the server what is not known yet.
func (p *Pool) Findings(ctx context.Context, sql string) (why string, err error) {
	st, err := p.knows(ctx, sql)
	if err != nil || p.lanes.catalog.isHarmless(st) {
		return "", err
	}
	p.lanes.catalog.mu.Lock()
	defer p.lanes.catalog.mu.Unlock()
	return cmp.Or(st.why, "unknown"), nil
}

// Traces says what the pool believes that sql leaves in its session when it goes alone: "" if it is proven that it leaves
// nothing but, perhaps, the values of sequences.
func (p *Pool) Traces(ctx context.Context, sql string) (trace string, err error) {
	st, err := p.knows(ctx, sql)
	if err != nil {
		return "", err
	}
	if t, _ := p.lanes.catalog.traces(st); t > sqltext.SequenceTrace {
		return fmt.Sprintf("trace %d", t), nil
	}
	return "", nil
}

// knows returns what the catalog knows of sql once it has been looked at.
func (p *Pool) knows(ctx context.Context, sql string) (*statement, error) {
	p.lanes.catalog.find(sql, "")
	st := p.lanes.catalog.find(sql, "") // a full catalog looks only at what comes again
	if !p.lanes.catalog.learn(st) {
		return st, nil
	}
	l, err := p.Acquire(ctx)
	if err != nil {
		p.lanes.catalog.learned(st, finding{})
		return nil, err
	}
	defer l.Release()
	l.c.learn(doubt{st, nil})
	return st, nil
}
