package lmipool

import "strings"

// named changes the text of err: it replaces the name of each field that a variable has set by the name of the variable, since the operator knows
// only that name.
func named(err error, log []chosen) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, s := range log {
		if strings.HasPrefix(s.by, "LMIPOOL_") {
			variable, _, _ := strings.Cut(s.by, ",")
			text = strings.ReplaceAll(text, "lmipool: Config."+s.field+" is ", "lmipool: "+variable+" is ")
		}
	}
	if text == err.Error() {
		return err
	}
	return &renamed{err, text}
}

// renamed is an error with another text.
type renamed struct {
	error
	text string
}

func (e *renamed) Error() string { return e.text }
func (e *renamed) Unwrap() error { return e.error }
