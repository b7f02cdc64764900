package sqltext_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/sqltext"
)

func harmless(s sqltext.Statement) bool {
	for _, f := range s.Functions {
		if !f.Harmless() {
			return false
		}
	}
	return s.Refused == ""
}

// A lane's guard changes no setting with a dot in its name, so reading one has the same result on a lane.
func TestCurrentSettingIsHarmlessForNamesWithADot(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"select current_setting('app.tenant')":                                  true,
		"select current_setting('app.tenant'::text)":                            true,
		"select pg_catalog.current_setting('app.tenant', true)":                 true,
		"select current_setting('a.b.c'::text, $1)::int":                        true,
		"select current_setting ( N'app.tenant' )":                              true,
		"select current_setting('app.tenant', mine())":                          false,
		"select mine.current_setting('app.tenant')":                             false,
		"select \"Current_setting\"('app.tenant')":                              false,
		"select current_setting('transaction_read_only')":                       false,
		"select current_setting('')":                                            false,
		"select current_setting('.')":                                           false,
		"select current_setting('statement_timeout' || '.x')":                   false,
		"select current_setting(substr('app.statement_timeout', 5))":            false,
		"select current_setting('app.tenant'::mine)":                            false,
		"select current_setting('app.tenant' || $1)":                            false,
		"select current_setting('app.tenant'\n'x')":                             false,
		"select current_setting(E'app.tenant')":                                 false,
		"select current_setting($$app.tenant$$)":                                false,
		"select current_setting($1)":                                            false,
		"select current_setting(name) from t":                                   false,
		"select current_setting('app.''tenant')":                                false,
		"select current_setting('app.x'), current_setting('statement_timeout')": false,
	} {
		assert.Equal(t, want, harmless(sqltext.Scan(sql)), sql)
	}
}

func TestFirstIsTheFirstWord(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT 1":                         "select",
		" /* a /* b */ */ -- c\n Call p()": "call",
		"((select 1))":                     "select",
		"with x as (select 1) table x":     "with",
		"":                                 "",
		"-- nothing":                       "",
		"/* not closed":                    "",
		";commit":                          "",
		"\"select\" 1":                     "",
		"'select'":                         "",
		"e'x' select":                      "",
		"u&\"x\" select":                   "",
		"\\select":                         "",
		"selects 1":                        "selects",
		"\x00select 1":                     "",
		"sele\x00ct 1":                     "sele",
	} {
		assert.Equal(t, want, sqltext.First(sql), sql)
	}
}
