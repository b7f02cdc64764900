package lmipool

import "github.com/lmipool/lmipool/pool"

// Upstream is [pool.Upstream]: what is at the other end of the pool's connections.
type Upstream = pool.Upstream

// The kinds; see [pool.Upstream].
const (
	UpstreamAuto      = pool.UpstreamAuto
	UpstreamDirect    = pool.UpstreamDirect
	UpstreamRDSProxy  = pool.UpstreamRDSProxy
	UpstreamPgBouncer = pool.UpstreamPgBouncer
)
