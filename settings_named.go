package lmipool

import "strings"

// named is err, in which a field is called by the variable that has set it.
func named(err error, log []chosen) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, s := range log {
		if strings.HasPrefix(s.by, "LMIPOOL_") {
			variable, _, _ := strings.Cut(s.by, ",")
			text = strings.ReplaceAll(text, "lmipool: Config."+fieldOf(s.name)+" is ", "lmipool: "+variable+" is ")
		}
	}
	if text == err.Error() {
		return err
	}
	return &renamed{err, text}
}

// fieldOf is the field of Config whose name in the log is name.
func fieldOf(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// renamed is an error with another text.
type renamed struct {
	error
	text string
}

func (e *renamed) Error() string { return e.text }
func (e *renamed) Unwrap() error { return e.error }
