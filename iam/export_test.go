package iam

import "fmt"

// Age is for a test: nobody can set the clocks.
var Age = age

// Shown is what a copy of s would print; vet keeps users from making one.
func (s *Source) Shown() string {
	fields := []any{s.tokens, s.cfg, s.sign, s.drop}
	return fmt.Sprintf("%v", fields) + fmt.Sprintf("%+v", fields) + fmt.Sprintf("%#v", fields)
}
