package session

import "slices"

// Foreign are the values of sequences of earlier users that a session has. It has one owner at a time.
type Foreign struct {
	by    []string // the texts that have drawn them; Anybody for what nobody can tell
	aside []string // what by was before a statement that overwrites all of it, if it succeeds
	since uint32   // the number of that statement's call
}

// Anybody stands for values of any sequences.
const Anybody = ""

// maxForeign is how many texts are told apart.
const maxForeign = 16

// Any reports whether there are some.
func (f *Foreign) Any() bool { return len(f.by) > 0 }

// Only reports whether by alone has drawn them.
func (f *Foreign) Only(by string) bool { return len(f.by) == 1 && f.by[0] == by }

// Add notes that there are values that by has drawn.
func (f *Foreign) Add(by ...string) {
	for _, text := range by {
		switch {
		case slices.Contains(f.by, text):
		case len(f.by) == maxForeign:
			f.by = append(f.by[:0:0], Anybody)
		default:
			f.by = append(f.by, text)
		}
	}
}

// Overwrite notes that a call to come overwrites all values, if it succeeds.
func (f *Foreign) Overwrite(call uint32) { f.by, f.aside, f.since = nil, f.by, call }

// Settle notes, before a call, that the one that overwrote all values has succeeded, if it was another.
func (f *Foreign) Settle(call uint32) {
	if f.since != call {
		f.aside = nil
	}
}

// Fail notes that it has not.
func (f *Foreign) Fail() { f.by, f.aside = append(f.by, f.aside...), nil }
