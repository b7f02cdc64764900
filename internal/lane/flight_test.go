package lane

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNobodyBoardsAFlightThatIsToEnd(t *testing.T) {
	t.Parallel()
	f := &Flight{last: true} // to look for somebody it would need a lane
	assert.False(t, f.next())
}
