package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/fleet"
)

var start = time.Unix(1e9, 0)

func half() float64 { return 0.5 }

// counted returns a Share that has just counted c.
func counted(budget int, c fleet.Count) *fleet.Share {
	s := fleet.New(budget, half)
	s.Counted(c, start, start)
	return s
}

func TestAShareIsThePartOfTheBudgetThatLeavesRoomForNewcomers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what      string
		budget    int
		members   int32
		others    int32
		roleLimit int32
		want      int
	}{
		{"one of twelve under the role's limit", 0, 12, 0, 40, 3},
		{"others are subtracted", 0, 12, 10, 40, 2},
		{"without a limit of the role, a deployment finds a connection for each of its environments", 40, 12, 0, -1, 2},
		{"others may have a part of its room", 40, 12, 10, -1, 2},
		{"but half of it is for newcomers", 40, 12, 11, -1, 1},
		{"a limit of the role below the budget wins", 100, 12, 0, 40, 3},
		{"a budget below the role's limit wins, and the server does not stop at it", 40, 12, 0, 100, 2},
		{"alone", 0, 1, 0, 40, 20},
		{"a thousand", 0, 1000, 0, 5000, 4},
		{"never less than one", 0, 100, 0, 40, 1},
		{"others hold everything", 0, 3, 50, 40, 1},
		{"no budget", 0, 12, 0, -1, fleet.Unbounded},
	} {
		s := counted(c.budget, fleet.Count{Members: c.members, Mine: 1, Age: 3600, Others: c.others, RoleLimit: c.roleLimit})
		assert.Equal(t, c.want, s.Most(start), c.what)
	}
}

func TestOneConnectionUntilTheFirstCount(t *testing.T) {
	t.Parallel()
	s := fleet.New(40, half)
	assert.Equal(t, 1, s.Most(start))
	s.Missed(start)
	assert.Equal(t, 1, s.Most(start), "a budget is known")

	s = fleet.New(0, half)
	assert.Equal(t, 1, s.Most(start))
	for range 5 {
		assert.Equal(t, 1, s.Most(start), "a few lost polls do not say that there is no budget")
		s.Missed(start)
	}
	assert.Equal(t, fleet.Unbounded, s.Most(start), "no budget is known; if the role has a limit, the server holds it")
}
