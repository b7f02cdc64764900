package lmipool

import "github.com/lmipool/lmipool/pool"

// Switch is [pool.Switch]: a field of Config that turns a part of lmipool on or off.
type Switch = pool.Switch

// The values of a Switch. What Auto means, and what On adds, says the field's documentation.
const (
	Auto   = pool.Auto   // "auto" or "": on where it is of use
	On     = pool.On     // "on": an error of Open where another setting makes it impossible
	Off    = pool.Off    // "off"
	Shadow = pool.Shadow // "shadow", for Config.Lanes alone: what would ride is counted, and runs alone
)

// Upstream is [pool.Upstream]: what is at the other end of the pool's connections.
type Upstream = pool.Upstream

// The kinds; see [pool.Upstream].
const (
	UpstreamAuto      = pool.UpstreamAuto
	UpstreamDirect    = pool.UpstreamDirect
	UpstreamRDSProxy  = pool.UpstreamRDSProxy
	UpstreamPgBouncer = pool.UpstreamPgBouncer
)
