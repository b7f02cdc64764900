package pool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

type leaseState uint8

const (
	leasePending leaseState = iota // waiting for its connection
	leaseActive
	leaseReleased
	leaseEnded  // by the end of its scope
	leaseClosed // by Shutdown
)

// result is what keeps a connection busy between calls.
type result interface{ closeResult() }

// active reports whether l has its connection, and has not ended.
func (l *Lease) active() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == leaseActive
}

// checking is the ctx for the checks of a connection that l is to get.
func (l *Lease) checking(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uncheck = cancel
	if l.state != leasePending {
		cancel()
	}
	return ctx, cancel
}

// start makes l the owner of c. Its scope or the pool may have ended just then.
func (l *Lease) start(c *conn) error {
	l.mu.Lock()
	l.c, l.since = c, c.place.Since()
	closed := l.state != leasePending
	if !closed {
		l.state = leaseActive
		c.cancel.Lent()
		l.inherits()
		c.partly = partly{}
		c.bind(l.with) // also to nothing, whatever it was bound to
	}
	l.mu.Unlock()
	if closed {
		c.giveBack()
		return ErrClosed
	}
	if l.scope != nil && !l.scope.add(l) {
		l.end(leaseReleased)
		return ErrInvocationEnded
	}
	return nil
}

// enter begins a call into pgx that sends something. Every exit from it goes through leave.
func (l *Lease) enter(sql string) (*pgx.Conn, error) {
	if err := l.call(sql); err != nil {
		return nil, err
	}
	pc := l.c.pg.PgConn()
	if !l.c.cancel.Pending() || pc.IsClosed() || pc.IsBusy() {
		return l.c.pg, nil
	}
	settled := l.c.cancel.Settle(l.p.cancelWait())
	l.leave()
	if !settled {
		return nil, errUnsettled
	}
	if err := l.call(sql); err != nil { // that took its time: the invocation may have ended
		return nil, err
	}
	return l.c.pg, nil
}

// resume begins a call that reads on what an earlier one has begun. Every exit from it
// goes through leave.
func (l *Lease) resume() error {
	if err := l.call(""); err != nil {
		return err
	}
	l.c.cancel.Extend()
	return nil
}

// call is what enter and resume have in common.
func (l *Lease) call(sql string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case leaseReleased:
		return errReleased
	case leaseEnded:
		return ErrInvocationEnded
	case leaseClosed:
		return ErrClosed
	}
	if l.calling && l.stuck {
		return errStuck
	}
	if l.calling {
		return errBusy
	}
	l.calling = true
	l.residue.Use()
	l.calls++
	if sql != "" {
		l.sql = sql
		if l.result == nil { // else it may be what was sent for that
			l.c.wire.StartCall()
			l.c.calls()
		}
	}
	return nil
}

func (l *Lease) leave() {
	l.mu.Lock()
	l.calling, l.stuck = false, false
	status := l.c.pg.PgConn().TxStatus()
	l.inTx = status != 'I'
	if status == 'E' {
		l.c.foreign.Fail()
	}
	if l.raw {
		l.c.watching()
		l.c.hideForeign()
		l.c.unarm()
	}
	if l.left != nil {
		close(l.left)
		l.left = nil
	}
	l.mu.Unlock()
}

// opened and closed keep track of the result that occupies the connection.
// Both run between enter and leave.
func (l *Lease) opened(r result) {
	l.mu.Lock()
	l.result, l.resultAt, l.reported = r, time.Now(), false
	l.mu.Unlock()
}

func (l *Lease) closed(r result) {
	l.mu.Lock()
	if l.result == r {
		l.result = nil
	}
	l.mu.Unlock()
}

func (l *Lease) hasResult() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result != nil
}

// tookRaw notes that the user has the connection itself, unless it is his no more.
func (l *Lease) tookRaw() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != leaseActive {
		return false
	}
	l.raw = true
	l.c.types.Lend()
	l.c.watching()
	if !l.calling { // else leave does it
		l.c.hideForeign()
		l.c.unarm()
	}
	l.c.cancel.AsPgx()
	return true
}

// gaveRaw reports whether the user has the connection itself.
func (l *Lease) gaveRaw() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw
}
