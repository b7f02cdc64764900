package pgerr

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// WithoutValues is err, of what sets settings, without the values that it was to set: PostgreSQL quotes what it refuses, whole
// or word by word.
func WithoutValues(err error, values []string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	c := *pg
	for _, field := range []*string{&c.Message, &c.Detail, &c.Hint, &c.Where} {
		*field = blankSettings(*field, values)
	}
	c.InternalQuery = ""
	return &c
}

// leastWord is the length of a word that is hidden wherever it is. Shorter ones say nothing, and are in every text.
const leastWord = 3

// blankSettings is text without values.
func blankSettings(text string, values []string) string {
	for _, value := range values {
		if value == "" || text == "" {
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
