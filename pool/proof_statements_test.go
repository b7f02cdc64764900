package pool_test

// generated is a statement that was made by chance.
type generated struct {
	i      int
	sql    string
	args   []string
	writes bool
	plant  int      // of its world; -1: nothing is planted
	used   []string // the productions that the plant has gone through
}

// statement makes statement i.
func (w *world) statement(seed uint64, i int) generated {
	w.g.seed(seed, uint64(i))
	s := generated{i: i, plant: -1, writes: w.writes}
	var e piece
	if i%5 == 4 { // nothing is planted
		e = w.g.fill(w.root(), 4, true)
	} else {
		e = w.planted(&s, i/5*4+i%5)
	}
	for i := range w.g.used {
		s.used = append(s.used, w.g.productions[i].sql)
	}
	s.sql, s.args = finish(e.sql, false)
	s.sql = w.g.dress(s.sql)
	return s
}

// planted makes the nth statement with something planted: each plant in its plainest form first, then each production around
// one that it takes.
func (w *world) planted(s *generated, n int) piece {
	s.plant = n % len(w.plants)
	plain, around, wraps := n < len(w.plants), -1, w.g.IntN(3)
	if !plain {
		around = n % len(w.g.productions)
		var fit []int
		for i, pl := range w.plants {
			if w.g.productions[around].takes(pl.typ) {
				fit = append(fit, i)
			}
		}
		if len(fit) > 0 {
			s.plant = fit[w.g.IntN(len(fit))]
		} else {
			around = -1
		}
	}
	if plain {
		e := w.g.expand(w.plants[s.plant].production, nil, 0)
		switch {
		case w.writes && e.typ == "write", e.typ == "stmt":
			return e
		case !w.writes && e.typ[0] == 'q':
			return w.g.closed(e)
		case !w.writes:
			return piece{sql: "select " + e.sql + " from " + w.g.from(e.needs)}
		}
	}
	e := w.g.expand(w.plants[s.plant].production, nil, 2)
	if around >= 0 {
		e = w.g.around(around, e)
	}
	for n := 0; e.typ != w.root(); n++ {
		ok := false
		if n >= wraps {
			e, ok = w.g.wrap(e, w.root())
		}
		if !ok {
			if e, ok = w.g.wrap(e, ""); !ok {
				panic("nothing takes a " + e.typ)
			}
		}
	}
	return e
}

// root is the type of whole statements.
func (w *world) root() string {
	if w.writes {
		return "write"
	}
	return "stmt"
}
