package facts

import (
	"slices"
	"strings"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Allowed reports of a function whether it is one of names, each "function", in any schema, or "schema.function".
func Allowed(names []string) func(sqltext.Function) bool {
	in := make(map[string]bool, len(names))
	for _, n := range names {
		in[n] = true
	}
	return func(f sqltext.Function) bool { return in[f.Name] || f.Schema != "" && in[f.Schema+"."+f.Name] }
}

// ValidFunction reports whether name is "function" or "schema.function".
func ValidFunction(name string) bool {
	parts := strings.Split(name, ".")
	return len(parts) <= 2 && !slices.Contains(parts, "") && !strings.ContainsAny(name, `()"',;`) && strings.TrimSpace(name) == name
}
