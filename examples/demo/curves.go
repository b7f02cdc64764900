package main

import "time"

// Curves has the two lines that the original experiment showed, with one value for each step.
type Curves struct {
	Step        time.Duration
	InFlight    []int
	Connections []int
}

func (c Curves) duration() time.Duration { return time.Duration(len(c.InFlight)) * c.Step }

// newCurves returns the samples as one value for each step of the load. The value is the highest in its step, so that no peak is averaged away; a
// step without a sample repeats the value before it.
func newCurves(step, length time.Duration, samples []sample) Curves {
	n := int(length/step) + 1
	c := Curves{Step: step, InFlight: make([]int, n), Connections: make([]int, n)}
	i, level := 0, sample{}
	for ; i < len(samples) && samples[i].at < 0; i++ {
		level = samples[i]
	}
	for g := range n {
		c.InFlight[g], c.Connections[g] = level.inFlight, level.connections
		for end := time.Duration(g+1) * step; i < len(samples) && samples[i].at < end; i++ {
			level = samples[i]
			c.InFlight[g] = max(c.InFlight[g], level.inFlight)
			c.Connections[g] = max(c.Connections[g], level.connections)
		}
	}
	return c
}
