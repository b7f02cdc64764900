package main

import "time"

// Curves are the two lines of the original experiment, one value per step.
type Curves struct {
	Step        time.Duration
	InFlight    []int
	Connections []int
}

func (c Curves) duration() time.Duration { return time.Duration(len(c.InFlight)) * c.Step }

// newCurves brings the samples to a grid that begins with the load and lasts as long as it. Each point is the highest
// value in its step, a peak is never averaged away; a step without a sample repeats the level before it.
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
