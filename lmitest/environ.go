package lmitest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Environ holds "KEY=value" pairs; any []string is assignable to it. Its text and JSON have only the keys, since values may be secrets and a failing
// test may log a Config.
type Environ []string

// Format shows c without the values of its Env.
func (c Config) Format(f fmt.State, verb rune) {
	type bare Config
	b := bare(c)
	b.Env = c.Env.keys()
	fmt.Fprintf(f, fmt.FormatString(f, verb), b)
}

// Format writes the keys, whatever the verb.
func (e Environ) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.keys()) }

// MarshalJSON encodes the keys.
func (e Environ) MarshalJSON() ([]byte, error) { return json.Marshal(e.keys()) }

func (e Environ) keys() []string {
	keys := make([]string, len(e))
	for i, kv := range e {
		keys[i], _, _ = strings.Cut(kv, "=")
	}
	return keys
}

// Format describes f in one line, whatever the verb.
func (f *Function) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "lmitest.Function(%s, %v)", f.config.FunctionName, f.config.Kind)
}
