package sqltext

import "slices"

// HarmlessNames returns the names for which Harmless is true.
func HarmlessNames() []string { return slices.Clone(harmless[:]) }

// NotCalled returns the keywords that never count as functions.
func NotCalled() []string { return notCalled }

// Words returns the lists of words that has searches.
func Words() [][]string { return [][]string{notCalled, reserved, lasting, inSession, quiet} }
