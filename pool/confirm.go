package pool

import "time"

// confirm asks for the sign of the facts before a group is sent, if the last one is too old for that: nobody has ridden
// for a while. It costs this group a round trip.
func (f *flight) confirm() {
	if f.lost != nil || len(f.group) == 0 || f.c.base.isFresh(time.Now()) {
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
		f.c.base.askedFor()
	}
}

// sign is the segment that asks for the sign of the facts, if it is time for that.
func (f *flight) sign() *segment {
	facts, now := f.c.base, time.Now()
	if facts.suspect.Load() || !facts.claimSign(now) {
		return nil
	}
	args, want, of := facts.signArgs()
	stmt := f.c.lane.find(askSign, nil)
	s := &segment{stmt: stmt, parse: !stmt.sent && !f.c.lane.unnamed, params: args, exec: true}
	stmt.sent = true
	s.heard = func(rows *buffered) {
		defer facts.askedFor()
		row := rows.firstRow()
		if row == nil {
			facts.rest(f.lost)
			return
		}
		facts.signed(row, want, of, now)
		if facts.suspect.Load() {
			f.landing = true // whoever gets the connection next has the facts derived anew
		}
	}
	return s
}

// firstRow is the first row of a result; nil: there is none.
func (b *buffered) firstRow() [][]byte {
	if b.rows == 0 {
		return nil
	}
	var row [][]byte
	from := int32(0)
	for _, end := range b.ends[:len(b.ends)/b.rows] {
		if end < 0 {
			row = append(row, nil)
			continue
		}
		row = append(row, b.data[from:end:end])
		from = end
	}
	return row
}
