package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/companion"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
)

// keptFromCompanion is how many of MaxConns a companion cannot have: with one alone, what an invocation acquires inside InTx would get ErrNestedAcquire.
const keptFromCompanion = 2

// Companion returns a *pgxpool.Pool for a library that accepts no other type, such as River's driver riverpgxv5. Its connections count in p's MaxConns
// and in p's share of the fleet's budget, so that both pools together never have more. n is the companion's MaxConns, and at most p's MaxConns less 2.
//
// From the companion's first dial on until its Close, p has n connections less. That dial waits until p has closed what it has above that, for
// ConnectTimeout at most. A connection that a library takes out of the companion by Hijack, as River does to LISTEN, counts in addition to n until it is
// closed. If the fleet's budget leaves p a share of n or less, p keeps one connection, and the companion has the rest. Then its connections are closed
// when they come back. One that never comes back, such as a listener's, is kept, so with a share of 1 there are two.
//
// The companion dials as p does, with the same hooks and application_name, and logs, counts and observes nothing. It has no scopes: the end of an
// invocation takes nothing back, and what one user leaves in a session, the next one finds there. A fence and Reset reset it. Close waits for its
// connections as for p's own, so stop first what uses them; Shutdown closes them when its ctx ends. The companion is closed with p at the latest.
//
// Companion returns an error if p has a companion that is not closed, and if p is closed. With Config.Plain the companion is the pgxpool that p itself
// uses, so n is checked and has no other effect, its Close closes p, and a connection taken out by Hijack counts nowhere.
func (p *Pool) Companion(n int32) (*pgxpool.Pool, error) {
	p.on() // panics with a sentence if p is nil
	switch most := p.cfg.MaxConns - keptFromCompanion; {
	case most < 1:
		return nil, pgerr.Config(fmt.Errorf("lmipool: Companion: Config.MaxConns is %d: want 3 or more, since the pool keeps 2", p.cfg.MaxConns))
	case n < 1 || n > most:
		return nil, pgerr.Config(fmt.Errorf("lmipool: Companion: n is %d: want 1 to %d, since MaxConns is %d and the pool keeps 2", n, most, p.cfg.MaxConns))
	case p.ctx.Err() != nil:
		return nil, ErrClosed
	case p.cfg.Plain == On:
		return p.px, nil
	}
	px, err := p.dialer.companions.Open(p.ctx, p.companionConfig(n))
	if err != nil && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("lmipool: Companion: %w", err)
	}
	return px, err
}

// newCompanions returns what is to hold p's companion.
func (p *Pool) newCompanions() *companion.Pools {
	return &companion.Pools{Gate: companion.Gate{Places: companionPlaces{p.sched}, Go: p.background}, Reserve: p.sched.Reserve, Closed: ErrClosed}
}

// companionConfig returns the configuration of a companion: that of a pool with Plain, and what makes its connections count.
func (p *Pool) companionConfig(n int32) *pgxpool.Config {
	d, px := p.dialer, p.px.Config()
	d.configurePlain(px)
	px.MaxConns = n
	before, after := px.BeforeConnect, px.AfterConnect
	px.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		if err := d.companions.Dials(ctx, func() { p.countForCompanion(ctx) }); err != nil {
			return err
		}
		d.recognition.Dial().Prepare(cc)
		if before != nil {
			if err := before(ctx, cc); err != nil {
				return pgerr.OfHook(err)
			}
		}
		d.writer.Validate(cc)
		d.cancels.Install(cc, pgcancel.Options{UserOwn: true, Dialing: func(context.Context) bool { return true }})
		cc.DialFunc = d.companions.Through(cc.DialFunc)
		return nil
	}
	px.AfterConnect = func(ctx context.Context, pg *pgx.Conn) error {
		pc := pg.PgConn()
		pgcancel.Of(pc).Opened(func() bool { return true })
		companion.Opened(pc)
		if err := after(ctx, pg); err != nil {
			return err
		}
		if !d.recognition.MetPooler() && !d.cfg.Upstream.shares() && !d.id.IsIn(pc.ParameterStatus(appName)) && !d.rename(ctx, pc) {
			return errNotRenamed
		}
		return d.writer.Admit(ctx, pc, true, "")
	}
	return px
}

// countForCompanion has the fleet counted if the companion, which dials, may have no more connections now. The pool's share may be small only because
// nobody has counted yet, and the pool counts on its own connections.
func (p *Pool) countForCompanion(ctx context.Context) {
	if used, most, _ := p.sched.Places(); p.member == nil || used < most {
		return
	}
	p.member.CountNow()
	p.background("companion", func() {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
		defer cancel()
		_ = p.Ping(ctx)
	})
}

// companionPlaces are the scheduler's places, with errors for the companion's users.
type companionPlaces struct{ *sched.Scheduler }

func (s companionPlaces) TakePlace(ctx context.Context) error {
	err := s.Scheduler.TakePlace(ctx)
	switch {
	case errors.Is(err, sched.ErrClosed):
		return ErrClosed
	case err != nil:
		used, most, all := s.Places()
		return fmt.Errorf("lmipool: the companion has %d connections, may have %d of the pool's %d, and got no place for one more in time", used, most, all) // without err: of a timeout pgx would show no more
	}
	return nil
}
