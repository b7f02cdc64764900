package pool

import (
	"context"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/sched"
)

// newScheduler makes what decides who gets a connection. What it knows of one is its place, and of a
// lease its wish.
func (p *Pool) newScheduler() *sched.Scheduler {
	return sched.New(sched.Config{
		Max:          int(p.cfg.MaxConns),
		MaxGroup:     lane.MaxFlight,
		MaxGroupTime: 2 * catalog.Slow,
		Patience:     p.cfg.ConnectTimeout,
		Dial:         p.dial,
		Prepare: func(ctx context.Context, r *sched.Request) sched.Share {
			l := r.Owner.(*Lease)
			if l.rideFor(ctx) == nil {
				return nil
			}
			return l.ride
		},
		Gone: gone,
		Done: func(r *sched.Request) <-chan struct{} {
			if s := r.Owner.(*Lease).scope; s != nil {
				return s.end()
			}
			return nil
		},
		Group: func(place *sched.Conn) *sched.Group { return newFlight(place.Owner.(*conn)) },
		Carry: func(g *sched.Group) { p.background("lane", g.Owner.(*flight).fly) },
		Close: func(place *sched.Conn) { place.Owner.(*conn).closeInBackground() },
		Send:  func(place *sched.Conn) { place.Owner.(*conn).sendReset() },
	})
}

// gone says why a lease is of no use any more.
func gone(r *sched.Request) error {
	if r.Owner.(*Lease).scope.gone() {
		return ErrInvocationEnded
	}
	return nil
}
