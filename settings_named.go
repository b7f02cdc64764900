package lmipool

import "strings"

// named returns err with each field that a variable has set called by that variable's name, since the operator knows only that.
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
