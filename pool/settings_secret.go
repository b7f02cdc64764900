package pool

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// without is err, of what sets s, without the values of s: PostgreSQL quotes what it refuses, whole or word by word.
func (s *settings) without(err error) error {
	var pg *pgconn.PgError
	if s == nil || !errors.As(err, &pg) {
		return err
	}
	c := *pg
	c.Message, c.Detail, c.Hint, c.Where = s.blank(c.Message), s.blank(c.Detail), s.blank(c.Hint), s.blank(c.Where)
	c.InternalQuery = ""
	return &c
}

// leastWord is the length of a word that is hidden wherever it is. Shorter ones say nothing, and are in every text.
const leastWord = 3

// blank is text without the values of s.
func (s *settings) blank(text string) string {
	for i := 1; i < len(s.params) && text != ""; i += 2 {
		value := string(s.params[i])
		if value == "" {
			continue
		}
		text = strings.ReplaceAll(text, value+`"`, `…"`)
		for n, word := range append([]string{value, cutName(value)}, wordsOfName.FindAllString(value, -1)...) {
			if n < 2 || utf8.RuneCountInString(word) >= leastWord {
				text = blankAlone(text, word, "(?i)", `\pL\pN_`)
			}
		}
	}
	return text
}

var wordsOfName = regexp.MustCompile(`[\pL\pN_]+`)

// cutName is value as the server cuts it, if it takes it for a name.
func cutName(value string) string {
	n := min(len(value), 63)
	for n < len(value) && n > 0 && !utf8.RuneStart(value[n]) {
		n--
	}
	return value[:n]
}
