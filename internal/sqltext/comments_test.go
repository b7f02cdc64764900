package sqltext_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/sqltext"
)

func TestTextsThatDifferInCommentsAreOne(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"select 1":                                 "select 1",
		"select 1 - 2 / 3":                         "select 1 - 2 / 3",
		"/* a */ select 1":                         " select 1",
		"select 1 /*traceparent='00-5bd-01'*/":     "select 1 ",
		"select 1 /* a /* b */ c */ + 2":           "select 1 + 2",
		"-- name: GetAuthor :one\nselect 1":        " select 1",
		"select '--', '/*', $$ -- $$, \"--\" -- x": "select '--', '/*', $$ -- $$, \"--\" ",
		"select 'a' -- c\n 'b'":                    "select 'a' -- c\n 'b'", // one string
		"select 'a' /* c */\n 'b'":                 "select 'a' 'b'",        // an error, as before
		"select 1 /* no end":                       "select 1 /* no end",
		"select a/**/b":                            "select a b",
		"select 1 -- no newline":                   "select 1 ",
		"select 1 --/* \n + 2 */":                  "select 1 + 2 */",
		"":                                         "",
		"--":                                       " ",
		"select 1 +/* c */- 2":                     "select 1 + - 2",
		"select 1\n\n, 2 -- x\n\n, 3":              "select 1\n\n, 2 , 3",
		"select E'a\\' -- ' /* c */ , 'x'":         "select E'a\\' -- ' , 'x'",
		"select 'a\\' -- c\n, 'b'":                 "select 'a\\' -- c\n, 'b'", // where the string ends depends on a setting
	} {
		assert.Equal(t, want, sqltext.WithoutComments(sql), sql)
	}
}
