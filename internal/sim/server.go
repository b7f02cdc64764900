package sim

import (
	"errors"
	"slices"
	"time"
)

// Server is a model of a database.
type Server struct {
	RoundTrip time.Duration       // the time to the server and back
	DialTime  time.Duration       // the average time of a dial: one half is fixed, the other is random
	Slots     int                 // how many connections the server accepts; 0 for any number
	Refuses   float64             // the probability that a dial fails by chance
	Knee      int                 // how many statements run at full speed at the same time; 0 for any number
	Contends  float64             // the part by which each statement beyond Knee makes all statements slower
	Pace      func(n int) float64 // see paced; nil for what Knee and Contends say
	Phases    []Phase             // the times at which the server is not as usual, in order; they must not overlap

	open, running int
	paced         paced
}

// paced is a server with a Pace: if it runs n statements, it does Pace(n) seconds of work in a second, and each statement gets the same part of that. It
// is only for callers without deadlines, who do not share, and has no RoundTrip and no Phases.
type paced struct {
	s    *Server
	runs []*conn
	each float64       // how many seconds of work each statement would have got since the beginning
	at   time.Duration // when each was right
	gen  uint32
}

// begin begins a statement of d on c.
func (p *paced) begin(s *Server, c *conn, d time.Duration) {
	p.s = s
	p.passes(c.e.w)
	c.until = p.each + d.Seconds()
	p.runs = append(p.runs, c)
	p.plan(c.e.w)
}

func (p *paced) passes(w *World) {
	if n := len(p.runs); n > 0 {
		p.each += (w.now - p.at).Seconds() * p.s.Pace(n) / float64(n)
	}
	p.at = w.now
}

// first returns the index of the statement that ends next.
func (p *paced) first() (i int) {
	for j, c := range p.runs {
		if c.until < p.runs[i].until {
			i = j
		}
	}
	return i
}

func (p *paced) plan(w *World) {
	p.gen++
	if n := len(p.runs); n > 0 {
		left := p.runs[p.first()].until - p.each
		w.in(time.Duration(left*float64(n)/p.s.Pace(n)*1e9), p, release, p.gen)
	}
}

func (p *paced) happens(_ kind, gen uint32) {
	if gen != p.gen {
		return
	}
	i := p.first()
	c := p.runs[i]
	p.passes(c.e.w)
	p.runs = slices.Delete(p.runs, i, i+1)
	c.done()
	p.plan(c.e.w)
}

// Phase is a time at which a server is not as usual.
type Phase struct {
	From, To time.Duration
	Slow     float64 // the factor by which statements that begin in the phase take longer; 0 if they take as long as usual
	Still    bool    // the server does nothing
	Away     bool    // the server refuses dials
}

var (
	errFull = errors.New("too many clients")
	errAway = errors.New("connection refused")
	errDial = errors.New("the dial failed")
)

func (s *Server) phase(at time.Duration) (p Phase) {
	for _, p := range s.Phases {
		if p.From <= at && at < p.To {
			return p
		}
	}
	return p
}

// ends returns the time when the answer to a statement arrives. The statement begins now and would take d on a server without other work.
func (s *Server) ends(now, d time.Duration) time.Duration {
	if f := s.phase(now).Slow; f > 0 {
		d = time.Duration(float64(d) * f)
	}
	if over := s.running - s.Knee; s.Knee > 0 && over > 0 { // the statements take turns
		d = time.Duration(float64(d) * float64(s.running) / float64(s.Knee) * (1 + s.Contends*float64(over)))
	}
	return s.still(now, now+s.RoundTrip+d)
}

// still returns end, later by the time that the server stands still between from and end.
func (s *Server) still(from, end time.Duration) time.Duration {
	for _, p := range s.Phases {
		if p.Still && from < p.To && end > p.From {
			end += p.To - max(from, p.From)
		}
	}
	return end
}

// dial returns the error of a dial that ends now, or nil if the dial succeeds.
func (s *Server) dial(w *World) error {
	switch {
	case s.phase(w.now).Away:
		return errAway
	case w.chance(s.Refuses):
		return errDial
	case s.Slots > 0 && s.open >= s.Slots:
		return errFull
	}
	s.open++
	return nil
}
