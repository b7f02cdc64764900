package sqltext

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"": "", " ; ": ";", "select 1": "select ?", "select -1.5e3,$1": "select -?,$1",
		"SELECT  a\n\tfrom \"T 1\" -- secret\nwhere b='it''s' and c = E'a\\'b' /* secret */ and d=$2::int": `SELECT a from "T 1" where b=? and c = ? and d=$2::int`,
		"select $$secret$$ || $a$ secret $$ $a$, B'101', x'ff', date '2020-01-01'":                         "select ? || ?, ?, ?, date ?",
		`select 'a\d+' from t`:                                       "select ? from t",
		`select 'a\' or 'secret'`:                                    "select …", // with standard_conforming_strings off the string goes on
		"select 'secret":                                             "select …",
		"select 1 /* secret":                                         "select ?",
		"select U&'secret' from t":                                   "select …",
		"select $a$ secret":                                          "select …",
		"select 'a'\n  'secret' from t":                              "select ? from t",
		"insert into t values (1,'a'),(2,'b'); select 3":             "insert into t values (?,?),(?,?); select ?",
		"select " + strings.Repeat("n", 70):                          "select " + strings.Repeat("n", 70),
		"/* first */ select 'ä' as ö":                                "select ? as ö",
		"alter role r password 'secret'":                             "alter role r password ?",
		"select \xff 'secret'":                                       "select \uFFFD ?",
		"create function f() returns int return 1":                   "create function f() returns int return ?",
		"select 1_000, 0x1F, .5":                                     "select ?, ?, ?",
		"select a->>'secret' from t where b @> '{\"secret\": true}'": "select a->>? from t where b @> ?",
		"select 1secret":                                             "select …",
	} {
		assert.Equal(t, want, Normalize(sql), sql)
		assert.NotContains(t, Normalize(sql), "secret")
		assert.Equal(t, Normalize(sql), Normalize(Normalize(sql)), "once more changes nothing: %s", sql)
	}
	assert.Equal(t, "select …", Shown("select 'abc', 'def', 'ghi'", 8))
	assert.LessOrEqual(t, len(Shown("select "+strings.Repeat("ä,", 200), 100)), 100+len("…"))
}

// FuzzNormalize holds that nothing between quotes is shown, and that the text stays what it is.
func FuzzNormalize(f *testing.F) {
	f.Add("select 'a', $$b$$, 1 from t")
	f.Add("select 'a\\' or 'b'")
	f.Fuzz(func(t *testing.T, sql string) {
		once := Normalize(sql)
		if !strings.Contains(sql, `"`) { // a name may have a quote in it
			assert.NotContains(t, once, "'")
		}
		assert.LessOrEqual(t, strings.Count(Shown(sql, 10), ""), 15)
		if !strings.Contains(once, "…") {
			assert.Equal(t, once, Normalize(once))
		}
	})
}
