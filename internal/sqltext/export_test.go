package sqltext

import (
	"maps"
	"slices"
)

// HarmlessNames is the allowlist.
func HarmlessNames() []string { return slices.Clone(harmless[:]) }

// NotCalled is the keywords that are never taken for functions.
func NotCalled() []string { return slices.Sorted(maps.Keys(notCalled)) }
