// Package pattern has regular expressions that are compiled when they are first used. If all those of the library were compiled when the process starts,
// that would be half of a millisecond of each cold start, and most processes never use most of them.
package pattern

import (
	"regexp"
	"sync"
)

// Lazy is a regular expression. It is for variables of packages: a literal with Text costs nothing when the process starts.
type Lazy struct {
	Text string

	once     sync.Once
	compiled *regexp.Regexp
}

// RE returns the compiled expression. It panics if Text is wrong: TestEveryPatternCompiles finds that.
func (l *Lazy) RE() *regexp.Regexp {
	l.once.Do(func() { l.compiled = regexp.MustCompile(l.Text) })
	return l.compiled
}
