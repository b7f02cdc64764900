package member_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/fleet"
	"github.com/lmipool/lmipool/internal/member"
	"github.com/lmipool/lmipool/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// lab is a Member, and what it has told its pool.
type lab struct {
	*member.Member
	admin *pgx.Conn
	role  string
	dsn   string
	id    fleet.ID

	mu    sync.Mutex
	moves []int
	log   strings.Builder // of no other goroutine's than the test's
}

func newLab(t *testing.T, limit, budget int) *lab {
	t.Helper()
	ctx := context.Background()
	super := pgtest.Database(t)
	l := &lab{role: "member_" + strconv.FormatInt(time.Now().UnixNano(), 36), id: fleet.NewID()}
	var err error
	l.admin, err = pgx.Connect(ctx, super)
	require.NoError(t, err)
	l.exec(t, fmt.Sprintf("create role %s login connection limit %d", l.role, limit))
	t.Cleanup(func() {
		l.exec(t, "drop role "+l.role)
		l.admin.Close(ctx)
	})
	u, err := url.Parse(super)
	require.NoError(t, err)
	u.User = url.User(l.role)
	l.dsn = u.String()
	l.Member = member.New(member.Config{ID: l.id, Budget: budget, Log: slog.New(slog.NewTextHandler(&l.log, nil)), Move: func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.moves = append(l.moves, n)
	}})
	return l
}

func (l *lab) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := l.admin.Exec(context.Background(), sql)
	require.NoError(t, err)
}

func (l *lab) connect(t *testing.T, name string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(l.dsn)
	require.NoError(t, err)
	config.RuntimeParams["application_name"] = name
	c, err := pgx.ConnectConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// counted polls until a poll has an answer. One has no answer on a busy machine, where it may take too long, and while another test has locked pg_authid.
func (l *lab) counted(t *testing.T, pc *pgconn.PgConn) {
	t.Helper()
	was := l.Stat().Polls
	require.Eventually(t, func() bool { assert.NoError(t, l.Poll(context.Background(), pc)); return l.Stat().Polls > was }, 30*time.Second, time.Millisecond)
}

func (l *lab) told() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moves[len(l.moves)-1]
}

func TestBeforeACountAPoolHasAsManyAsItMayHaveUncounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		budget, may    int
		first, another bool // whether a count is owed on the first connection, and on another
	}{{0, 2, false, true}, {7, 1, true, true}} {
		l := newLab(t, -1, c.budget)
		assert.Equal(t, c.may, l.told())
		assert.Equal(t, c.first, l.Owes(1))
		assert.Equal(t, c.another, l.Owes(2))
		at, is := l.NextDue()
		assert.True(t, is && time.Until(at) < time.Second, "the first connection comes to a count soon")
		l.counted(t, l.connect(t, l.id.Name("")).PgConn())
		assert.False(t, l.Owes(1))
		assert.False(t, l.Owes(2))
	}
}

func TestTheLimitIsReadWithEachPoll(t *testing.T) {
	t.Parallel()
	l := newLab(t, -1, 0)
	c := l.connect(t, l.id.Name("")).PgConn()
	l.counted(t, c)
	assert.Equal(t, fleet.Unbounded, l.told())
	assert.Zero(t, l.Stat().Share)
	l.exec(t, "alter role "+l.role+" connection limit 3")
	l.counted(t, c)
	assert.Equal(t, 1, l.told())
	s := l.Stat()
	assert.EqualValues(t, 3, s.Budget)
	assert.EqualValues(t, 2, s.Polls)
	l.exec(t, "alter role "+l.role+" connection limit -1")
	l.counted(t, c)
	assert.Equal(t, fleet.Unbounded, l.told())
}

func TestAPoolThatIsNotUsedComesToNoPoll(t *testing.T) {
	t.Parallel()
	l := newLab(t, 40, 0)
	c := l.connect(t, l.id.Name("")).PgConn()
	l.counted(t, c)
	now := time.Now()
	at, is := l.NextDue()
	assert.True(t, is)
	assert.Greater(t, at.Sub(now), 4*time.Second)
	assert.False(t, l.Due(now))
	assert.False(t, l.Tick(1, 100, now), "the count was just now")
	due := now.Add(10 * time.Second)
	l.SetDue(due)
	assert.True(t, l.Due(due))
	assert.False(t, l.Tick(1, 100, due), "nobody has used it since")
	assert.True(t, l.Tick(1, 101, due))
	assert.False(t, l.Tick(0, 101, due), "there is no connection")
	assert.True(t, l.Owes(1), "whoever had none is a newcomer")
	l.counted(t, c)
	assert.False(t, l.Owes(1))
	assert.False(t, (*member.Member)(nil).Tick(1, 1, due))
	assert.False(t, (*member.Member)(nil).Due(due))
}

func TestAPollThatIsNotAnsweredCostsNoConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t, 40, 0)
	c := l.connect(t, l.id.Name(""))
	l.counted(t, c.PgConn())
	was, before := l.told(), l.Stat().Missed
	tx, err := l.admin.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.Background())
	_, err = tx.Exec(t.Context(), "lock pg_catalog.pg_authid in access exclusive mode")
	require.NoError(t, err)
	for missed := range 4 {
		l.Poll(t.Context(), c.PgConn())
		assert.EqualValues(t, before+int64(missed)+1, l.Stat().Missed)
		assert.Equal(t, was, l.told())
		said := 0
		if missed >= 2 {
			said = 1
		}
		assert.Equal(t, said, strings.Count(l.log.String(), "could not be counted"), l.log.String())
	}
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, c.Ping(t.Context()))
	l.counted(t, c.PgConn())
	assert.EqualValues(t, 2, l.Stat().Polls)
}

func TestWithoutRoomForOneMorePoolsTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 0)
	l.counted(t, l.connect(t, l.id.Name("")).PgConn())
	now := time.Now()
	require.True(t, l.Short(now))
	assert.Equal(t, 1, l.told())
	l.Tick(1, 1, now)
	assert.Equal(t, 1, l.told(), "the turn has begun")
	l.Tick(1, 1, now.Add(4*time.Second))
	assert.Equal(t, 0, l.told(), "its turn is over")
	l.Tick(0, 1, now.Add(4*time.Second))
	assert.False(t, l.Owes(1), "its next turn begins with no count, or there would be one each turn")
	assert.Eventually(t, func() bool { return l.told() == 1 }, 30*time.Second, 10*time.Millisecond, "it rests for a moment")
	assert.False(t, l.Short(now.Add(time.Minute)), "no later count has said so")
	l.Tick(0, 1, now.Add(time.Minute))
	assert.True(t, l.Owes(1), "it was away for longer")

	enough := newLab(t, 2, 0)
	enough.counted(t, enough.connect(t, enough.id.Name("")).PgConn())
	assert.False(t, enough.Short(now))
}

func TestARefusedDialLowersTheShare(t *testing.T) {
	t.Parallel()
	l := newLab(t, 40, 0)
	l.counted(t, l.connect(t, l.id.Name("")).PgConn())
	was := l.told()
	require.Greater(t, was, 2)
	l.Refused(0)
	assert.Equal(t, was, l.told(), "a pool without a connection has none to give")
	l.Refused(4)
	assert.Equal(t, 2, l.told())
}

// Two connections that are opened at the same moment do not see each other: the second owes a count all the same.
func TestTheSecondOfTwoNewConnectionsOwesACount(t *testing.T) {
	t.Parallel()
	l := newLab(t, -1, 0)
	assert.False(t, l.Owes(1))
	assert.True(t, l.Owes(1))
}
