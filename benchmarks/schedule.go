package main

import (
	"math/rand/v2"
	"time"
)

// arrival is one statement of an open loop.
type arrival struct {
	due time.Duration // when it is to be sent, from the loop's start
	pick
}

// schedule returns arrivals like those of many independent clients: a Poisson process. The same seed gives the same arrivals.
func schedule(seed uint64, perSecond float64, total time.Duration) []arrival {
	rng := rand.New(rand.NewPCG(seed, 0))
	var all []arrival
	for due := time.Duration(0); ; {
		due += time.Duration(rng.ExpFloat64() / perSecond * float64(time.Second))
		if due >= total {
			return all
		}
		all = append(all, arrival{due, newPick(rng)})
	}
}
