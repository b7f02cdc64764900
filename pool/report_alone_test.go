package pool_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// A function of the user's own that keeps reads from riding is told, once; few such reads are not.
func TestReadsThatAFunctionKeepsFromRidingAreTold(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPool(t, &pool.Config{MaxConns: 1, Logger: log.logger()})
	_, err := p.Exec(bounded(t), "create function shout(text) returns text language plpgsql as 'begin return upper($1); end'")
	require.NoError(t, err)
	read := func(times int) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range times {
					var s string
					assert.NoError(t, p.QueryRow(bounded(t), "select shout('hush')").Scan(&s))
				}
			})
		}
		wg.Wait()
	}
	const message = "since they call a function"
	read(2)
	assert.Empty(t, log.with(message), "16 reads are not worth a line")
	for range 20 {
		read(10)
	}
	alone := p.Stat().Lanes().Alone["function"]
	require.Greater(t, alone, int64(100))
	said := log.with(message)
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "select shout(?)")
}
