package pool

import "sync"

// spare are the leases and rides of statements that have ridden, to be used again: at tens of
// thousands a second they would be half of the garbage, and its collector would run beside
// the statements of the moment. Only what nobody else knows any more comes back: the lane
// may still look at a ride whose caller did not stay for the answer, and housekeeping at a lease that
// was lent a connection.
type spare struct {
	leases sync.Pool // *Lease, zero
	rides  sync.Pool // *ride, with nothing in it but the space that its arguments took
}

func (s *spare) lease() *Lease {
	if l, ok := s.leases.Get().(*Lease); ok {
		return l
	}
	return &Lease{}
}

func (s *spare) ride() *ride {
	if r, ok := s.rides.Get().(*ride); ok {
		return r
	}
	return &ride{}
}

// take takes back what was l's, once it has its result.
func (s *spare) take(l *Lease, r *ride) {
	*r = ride{eqb: r.eqb}
	// pgconn keeps those of a statement that the server has skipped, and looks at them when it
	// reads the answer to a later one. (It also keeps its fields, with which that is read: so a
	// ride's rows are decoded by its own, never by pgconn's.)
	r.eqb.ResultFormats = nil
	s.rides.Put(r)
	if l.known {
		l.ride = nil
		return
	}
	*l = Lease{}
	s.leases.Put(l)
}
