package sql

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goose's Provider runs the migrations of goose's own testdata, up, down, one by one, and with its lock of sessions.
func TestGoose(t *testing.T) {
	t.Parallel()
	migrations := os.DirFS(filepath.Join(moduleDir(t, "github.com/pressly/goose/v3"), "testdata", "migrations"))
	session, err := lock.NewPostgresSessionLocker()
	require.NoError(t, err)
	for name, options := range map[string][]goose.ProviderOption{"plain": nil, "with a session lock": {goose.WithSessionLocker(session)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, db := t.Context(), open(t)
			p, err := goose.NewProvider(database.DialectPostgres, db, migrations, options...)
			require.NoError(t, err)
			sources := p.ListSources()
			require.NotEmpty(t, sources)
			up := func() {
				results, err := p.Up(ctx)
				require.NoError(t, err)
				assert.Len(t, results, len(sources))
			}
			up()
			version, err := p.GetDBVersion(ctx)
			require.NoError(t, err)
			assert.Equal(t, sources[len(sources)-1].Version, version)
			var posts int
			require.NoError(t, db.QueryRow("select count(*) from posts_view").Scan(&posts))
			assert.NotZero(t, posts)
			for range sources {
				_, err := p.Down(ctx)
				require.NoError(t, err)
			}
			_, err = p.Down(ctx)
			require.ErrorIs(t, err, goose.ErrNoNextVersion)
			for range sources {
				_, err := p.UpByOne(ctx)
				require.NoError(t, err)
			}
			_, err = p.DownTo(ctx, 0)
			require.NoError(t, err)
			up()
			status, err := p.Status(ctx)
			require.NoError(t, err)
			for _, s := range status {
				assert.Equal(t, goose.StateApplied, s.State)
			}
			pending, err := p.HasPending(ctx)
			require.NoError(t, err)
			assert.False(t, pending)
		})
	}
}
