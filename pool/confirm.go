package pool

import (
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
)

// confirm asks for the sign of the facts before a group is sent, if the last one is too old for that: nobody has ridden
// for a while. It costs this group a round trip.
func (f *flight) confirm() {
	if f.lost != nil || len(f.group) == 0 || f.c.base.IsFresh(time.Now()) {
		return
	}
	s := f.sign()
	if s == nil { // somebody else is asking, or it is known that they are not right
		return
	}
	f.extend(time.Now())
	s.send(f.pl)
	if f.lost = f.pl.Flush(); f.lost == nil {
		f.receive(s)
	} else {
		f.c.base.Release()
	}
}

// sign is the segment that asks for the sign of the facts, if it is time for that.
func (f *flight) sign() *segment {
	base, now := f.c.base, time.Now()
	if base.IsSuspect() || !base.Claim(now) {
		return nil
	}
	sign := base.Sign(now)
	stmt := f.c.lane.find(facts.AskSign, nil)
	s := &segment{stmt: stmt, parse: !stmt.sent && !f.c.lane.unnamed, params: sign.Args, exec: true}
	stmt.sent = true
	s.heard = func(rows *memrows.Result) {
		defer base.Release()
		row := rows.First()
		sign.Take(row, f.lost)
		if row != nil && base.IsSuspect() {
			f.landing = true // whoever gets the connection next has the facts derived anew
		}
	}
	return s
}
