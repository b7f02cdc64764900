package pool

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNobodyBoardsAFlightThatLands(t *testing.T) {
	t.Parallel()
	f := &flight{landing: true} // to look for somebody it would need a connection
	assert.False(t, f.board())
}
