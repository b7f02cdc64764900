package catalog

// maxLooks is how often a statement may fail to be described.
const maxLooks = 5

// Description is how s is described by now; nil: it is not.
func (s *Statement) Description() *Description { return s.desc.Load() }

// Wants reports whether s could ride if it was described.
func (s *Statement) Wants() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wantsLocked()
}

func (s *Statement) wantsLocked() bool {
	d := s.desc.Load()
	if s.alone != "" || d != nil && s.proof.Known && !s.doubted {
		return false
	}
	p := s.judgeLocked(s.facts())
	return !p.Known || Why(p) == "" && (d == nil || s.doubted)
}

// Claim claims the one look that s gets to be described for lanes. When there are more texts than the store
// has room for, most of them may never come again, and a look costs more than a run:
// then it is for those that have.
func (s *Statement) Claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looking || !s.wantsLocked() || !s.again && s.full {
		return false
	}
	s.looking = true
	return true
}

// Record ends what Claim began: with a description, with the reason why s goes alone, or with neither: it could not be described. That
// may be otherwise next time, up to a bound.
func (s *Statement) Record(d *Description, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking = false
	switch {
	case why != "":
		s.refuse(why)
	case d != nil:
		s.desc.Store(d)
		s.looks, s.doubted = 0, false
	default:
		if s.looks++; s.looks == maxLooks {
			s.refuse(AloneCalls)
		}
	}
	s.unprove()
}

// Redescribe has those who ride s from now on encode for d, unless somebody has given it
// another description since old. nil: it is to be described again.
func (s *Statement) Redescribe(old, d *Description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desc.CompareAndSwap(old, d) {
		s.unprove()
	}
}

// Doubt has s described again, once for what is known by now: an argument could not be encoded for d, so a parameter may
// have another type since.
func (s *Statement) Doubt(d *Description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desc.Load() == d && s.doubtedBy != s.proof.By {
		s.doubtedBy, s.doubted = s.proof.By, true
	}
}
