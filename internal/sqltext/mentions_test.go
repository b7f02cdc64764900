package sqltext_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/sqltext"
)

func TestMentionFindsEveryNameByWhatItMayMean(t *testing.T) {
	t.Parallel()
	m, ok := sqltext.Mention(`select u."Seen", lower(u.name), (u).f, s.g(1), tags[1].h from S.Users u
		where u.id in (select id from plans) and a <= -b and c not like 'x' -- comment.not(this)
		order by 'string.not(this)', x::Email`)
	require.True(t, ok)
	assert.Equal(t, []string{"g", "in", "lower"}, m.Called)
	assert.Equal(t, []string{"Seen", "f", "h", "id", "name", "users"}, m.Dotted)
	for _, n := range []sqltext.Name{{Name: "u"}, {Name: "plans"}, {Name: "email"}, {Schema: "s", Name: "users"}, {Schema: "s", Name: "g"}} {
		assert.Contains(t, m.Names, n)
	}
	assert.NotContains(t, m.Names, sqltext.Name{Name: "select"})
	for _, op := range []string{"=", "<>", "<=", "<", "-", "~~", "!~~"} {
		assert.True(t, m.HasOperator(op), op)
	}
	for _, op := range []string{"@@", "||", "~*"} {
		assert.False(t, m.HasOperator(op), op)
	}
	assert.Empty(t, m.Written)
	assert.Empty(t, m.Changed)
}

func TestMentionFindsWhatIsWritten(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][2][]sqltext.Name{
		"insert into a.b (x) values (1) on conflict do update set x = 2": {{{Schema: "a", Name: "b"}}, nil},
		"update only t set x = 1":                                             {nil, {{Name: "t"}}},
		`delete from only ("T") where x = 1`:                                  {nil, {{Name: "T"}}},
		"with d as (delete from t returning *) insert into u select * from d": {{{Name: "u"}}, {{Name: "t"}}},
		"merge into m using s on m.id = s.id when matched then update set x = 1 when not matched then delete": {{{Name: "m"}}, nil},
		"select * from t for update":        {nil, {{Name: "t"}, {Name: "update"}}}, // Changed has every name, since the policies for UPDATE apply
		"select * from t for no key update": {nil, {{Name: "key"}, {Name: "no"}, {Name: "t"}, {Name: "update"}}},
		"open c for update t set x = 1":     {nil, {{Name: "c"}, {Name: "open"}, {Name: "set"}, {Name: "t"}, {Name: "update"}, {Name: "x"}}},
		"update set set x = 1":              {nil, {{Name: "set"}}},
		"update db.s.t set x = 1":           {nil, {{Schema: "s", Name: "t"}}},
	} {
		m, ok := sqltext.Mention(sql)
		require.True(t, ok, sql)
		assert.Equal(t, want[0], m.Written, sql)
		assert.Equal(t, want[1], m.Changed, sql)
	}
}
