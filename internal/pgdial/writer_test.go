package pgdial

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/awshost"
)

func TestWhoWantsAWriter(t *testing.T) {
	t.Parallel()
	const zone = "-c0ffee.eu-west-1.rds.amazonaws.com/d"
	for dsn, want := range map[string]string{
		"localhost/d": "", "localhost/d?target_session_attrs=any": "",
		"localhost/d?target_session_attrs=read-write": "wanted", "localhost/d?target_session_attrs=primary": "wanted",
		"localhost/d?target_session_attrs=read-only": "never", "localhost/d?target_session_attrs=standby": "never",
		"localhost/d?target_session_attrs=prefer-standby": "never",
		"db.cluster" + zone: "wanted", "db.cluster-ro" + zone: "never", "db.cluster-custom" + zone: "never",
		"db.cluster-ro" + zone + "?target_session_attrs=primary": "wanted",
		"p.proxy" + zone: "never", "db.global-c0ffee.global.rds.amazonaws.com/d": "wanted", "db.c0ffee.eu-west-1.rds.amazonaws.com/d": "",
	} {
		px, err := pgxpool.ParseConfig("postgres://u@" + dsn)
		require.NoError(t, err)
		w := NewWriter(px.ConnConfig, InAWS(px.ConnConfig, awshost.Proxy))
		assert.Equal(t, want == "never", w.never, dsn)
		assert.Equal(t, want == "wanted", w.Wanted(), dsn)
	}
}
