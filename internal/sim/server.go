package sim

import (
	"errors"
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
	Pace      func(n int) float64 // how many seconds of work the server does in a second if it runs n statements; nil for what Knee and Contends say
	Phases    []Phase             // the times at which the server is not as usual, in order; they must not overlap

	open, running int
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
	if s.Pace != nil {
		d = time.Duration(float64(d) * float64(s.running+1) / s.Pace(s.running+1))
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
