package sim

import (
	"errors"
	"time"
)

// Server is a model of a database.
type Server struct {
	RoundTrip time.Duration // to it and back
	DialTime  time.Duration // on average; half of it is sure
	Slots     int           // connections that it takes; 0: as many as come
	Refuses   float64       // of all dials, those that fail for no reason that lasts
	Knee      int           // statements that run at once at full speed; 0: any number
	Contends  float64       // how much longer each one beyond that has every one take, of its time at the knee
	Phases    []Phase       // when it is not as usual, in order; they do not overlap

	open, running int
}

// Phase is a time when a server is not as usual.
type Phase struct {
	From, To time.Duration
	Slow     float64 // how many times longer statements take that begin now
	Still    bool    // it does nothing
	Away     bool    // it refuses dials
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

// ends is when it is done with what begins now and is work for d, and its answer is here.
func (s *Server) ends(now, d time.Duration) time.Duration {
	if f := s.phase(now).Slow; f > 0 {
		d = time.Duration(float64(d) * f)
	}
	if over := s.running - s.Knee; s.Knee > 0 && over > 0 { // they take turns
		d = time.Duration(float64(d) * float64(s.running) / float64(s.Knee) * (1 + s.Contends*float64(over)))
	}
	return s.still(now, now+s.RoundTrip+d)
}

// still moves an end by as long as the server stands still meanwhile.
func (s *Server) still(from, end time.Duration) time.Duration {
	for _, p := range s.Phases {
		if p.Still && from < p.To && end > p.From {
			end += p.To - max(from, p.From)
		}
	}
	return end
}

// dial is what becomes of a dial that ends now.
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
