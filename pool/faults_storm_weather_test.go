package pool_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// fault is something that a network does.
type fault struct {
	name  string
	often int
	do    func(f *faults, r *rand.Rand)
}

// Each of them ends soon, since callers who have time are to get what they asked for. Most often an answer is lost.
var stormFaults = []fault{
	{"reset", 3, func(f *faults, _ *rand.Rand) { f.proxy.Reset() }},
	{"cut", 3, func(f *faults, _ *rand.Rand) { f.proxy.Cut() }},
	{"stall", 1, func(f *faults, r *rand.Rand) {
		f.proxy.Stall(true)
		f.pause(r, 60*time.Millisecond)
		f.proxy.Stall(false)
	}},
	{"stall and reset", 2, func(f *faults, r *rand.Rand) {
		f.proxy.Stall(true)
		f.pause(r, 30*time.Millisecond)
		f.proxy.Reset()
		f.proxy.Stall(false)
	}},
	{"terminate", 2, func(f *faults, r *rand.Rand) {
		f.see.exec(fmt.Sprintf(`select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid() and pid %% 2 = %d`, r.IntN(2)))
	}},
	{"refuse", 1, func(f *faults, r *rand.Rand) {
		_ = f.proxy.Refuse(true) // it returns none
		f.proxy.Cut()
		f.pause(r, 100*time.Millisecond)
		// A dial of somebody else's may have been given the port; he loses it to his own faults.
		eventually(f.t, "the proxy has its port again", func() bool { return f.proxy.Refuse(false) == nil })
	}},
	{"gone", 1, func(f *faults, r *rand.Rand) { // as behind a pooler, which still accepts
		f.proxy.Retarget("127.0.0.1:1")
		f.proxy.Cut()
		f.pause(r, 50*time.Millisecond)
		f.proxy.Retarget(f.server())
	}},
}

// server is where the proxy leads to.
func (f *faults) server() string {
	c := f.see.c.Config()
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

// faultsAtMost is how long a storm on a starved machine may take to become one, beyond its time.
const faultsAtMost = 30 * time.Second

// rain has one fault follow the other until it was a storm, and ends it. A fault waits, for a second at most, until something was acknowledged after
// the one before: on a starved machine faults by the clock would leave nothing to break. The way to the server gets longer and shorter meanwhile: what
// is under way when it is cut was executed, or not.
func (f *faults) rain(r *rand.Rand, main *victim) {
	defer close(f.stop)
	var all []fault
	for _, of := range stormFaults {
		all = append(all, slices.Repeat([]fault{of}, of.often)...)
	}
	served := 0
	for began := time.Now(); ; {
		f.proxy.SetRoundTrip(time.Duration(r.IntN(3)) * time.Millisecond / 2)
		f.pause(r, 120*time.Millisecond)
		for last := time.Now(); f.acknowledged() < served+3 && time.Since(last) < time.Second; {
			time.Sleep(2 * time.Millisecond)
		}
		served = f.acknowledged()
		of := all[r.IntN(len(all))]
		of.do(f, r)
		f.weather[of.name]++
		if took := time.Since(began); took > f.lasts && (f.raged(main) || took > f.lasts+faultsAtMost) || len(f.b.violations()) > 0 {
			break
		}
	}
	f.proxy.SetRoundTrip(0)
}

// acknowledged is how many calls were.
func (f *faults) acknowledged() int {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.b.counts[fateAcknowledged]
}

func (f *faults) pause(r *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(r.Int64N(int64(most))))
}
