package sqltext

import (
	"maps"
	"slices"
)

// HarmlessNames returns the names for which Harmless is true.
func HarmlessNames() []string { return slices.Clone(harmless[:]) }

// NotCalled returns the keywords that never count as functions.
func NotCalled() []string { return slices.Sorted(maps.Keys(notCalled)) }
