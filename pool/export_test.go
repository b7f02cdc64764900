package pool

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// LeaseSize is how much Acquire allocates, in bytes.
const LeaseSize = unsafe.Sizeof(Lease{})

// NeverSlow has reads ride however long they took before, and as many as there is
// room for: on a busy machine any statement can look slow. Call it before use.
func (p *Pool) NeverSlow() {
	p.lanes.Catalog.Slow = time.Hour
}

// LooksAtOnce has nothing put off that the server is asked about statements, if once is true. Call it before use.
func (p *Pool) LooksAtOnce(once bool) {
	if p.sessions != nil {
		p.sessions.AtOnce = once
	}
}

// IsJudged says whether all is known about the names in sql.
func (p *Pool) IsJudged(sql string) bool { return p.lanes.Catalog.Find(sql, "").IsJudged() }

// NeverOld has what is known about the catalogs be young enough for a ride, unless it is known to be wrong. Call it before use.
func (p *Pool) NeverOld() { p.lanes.Baselines.Slack = time.Minute }

// SlowAbove moves the bound.
func (p *Pool) SlowAbove(d time.Duration) { p.lanes.Catalog.Slow = d }

// WithoutArgument is err without the argument that pgx could not encode.
func WithoutArgument(err error) error { return pgerr.Arguments{}.WithoutArgument(err) }

// Findings says why the pool would not let sql ride, were it short: "" if it is proven that no code of the user's own
// runs. It asks the server what is not known yet.
func (p *Pool) Findings(ctx context.Context, sql string) (why string, err error) {
	st, pf, err := p.prove(ctx, sql)
	if err != nil {
		return "", err
	}
	switch _, _, why := st.Shareable(); why {
	case catalog.AloneText, catalog.AloneArgs, catalog.AloneGuarded: // for good
		return why, nil
	}
	if pf.Why != "" {
		return pf.Why, nil
	}
	return catalog.Why(&pf), nil
}

// Leaves says what the pool takes sql to leave in its session: 0 for nothing.
func (p *Pool) Leaves(ctx context.Context, sql string) (sqltext.Trace, error) {
	st, pf, err := p.prove(ctx, sql)
	if err != nil || !st.Asks {
		return st.Leaves(nil).Trace, err
	}
	return pf.Trace, nil
}

// SignTook says how long it took to ask whether the catalogs are what they were, and whether they are.
func (p *Pool) SignTook(ctx context.Context) (time.Duration, bool, error) {
	l, err := p.acquire(ctx, nil, kindLease, "", -1)
	if err != nil {
		return 0, false, err
	}
	defer l.Release()
	began := time.Now()
	sign := l.c.session.Facts.Sign(began)
	rows, err := l.c.session.Subject().Answers(ctx, facts.AskSign(), sign.Args...)
	took := time.Since(began)
	if err == nil {
		sign.Take(rows[0], nil)
	}
	return took, !l.c.session.Facts.IsSuspect(), err
}

func (p *Pool) prove(ctx context.Context, sql string) (*catalog.Statement, facts.Proof, error) {
	st := p.lanes.Catalog.Find(sql, "")
	if st.Mentions == nil {
		return st, facts.Proof{}, nil
	}
	l, err := p.acquire(ctx, nil, kindStatement, sql, -1)
	if err != nil {
		return st, facts.Proof{}, err
	}
	defer l.Release()
	if _, err := l.c.session.Facts.Know(ctx, l.c.session.Subject().Answers, st.Mentions, nil, func() []*sqltext.Mentions { return nil }); err != nil {
		return st, facts.Proof{}, err
	}
	pf := l.c.session.Facts.Prove(st.Mentions, st.Functions, nil)
	if !pf.Told {
		return st, pf, errors.New("it is not known after it was asked for")
	}
	return st, pf, nil
}

// Traces says what the pool believes that sql leaves in its session when it goes alone: "" if it is proven that it leaves
// nothing but, perhaps, the values of sequences.
func (p *Pool) Traces(ctx context.Context, sql string) (trace string, err error) {
	t, err := p.Leaves(ctx, sql)
	if err != nil || t <= sqltext.SequenceTrace {
		return "", err
	}
	return fmt.Sprintf("trace %d", t), nil
}

// AskMeaning is what the server is asked for what decides the meaning of texts.
const AskMeaning = session.AskMeaning

// LooksOfASnapshot takes the scheduler's lock as often as a snapshot of the pool does, and for what it does.
func LooksOfASnapshot(p *Pool) {
	p.sched.Stats()
	p.sched.Holders()
}

// SetCeiling does what a new share of the fleet's budget does.
func (p *Pool) SetCeiling(n int) { p.sched.SetCeiling(n) }

// Fence is what a pool does when a connection has found that its server is a standby.
func (p *Pool) Fence(ctx context.Context) error {
	l, err := p.acquire(ctx, nil, kindLease, "", -1)
	if err != nil {
		return err
	}
	defer l.Release()
	p.fence(l.c, pgerr.ErrStandby)
	return nil
}

// Places is how many places the companion's connections have, and how many they may have.
func (p *Pool) Places() (used, most int) {
	used, most, _ = p.sched.Places()
	return used, most
}
