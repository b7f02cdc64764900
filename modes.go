package lmipool

import (
	"context"

	"github.com/lmipool/lmipool/pool"
)

// Switch is [pool.Switch]: a field of Config that turns a part of lmipool on or off.
type Switch = pool.Switch

// These are the values of a Switch. The documentation of each field says what Auto means there.
const (
	Auto   = pool.Auto   // "auto" or "": the part is on if it is useful and possible here
	On     = pool.On     // "on": Open returns an error if another setting makes the part impossible
	Off    = pool.Off    // "off"
	Shadow = pool.Shadow // "shadow", for Config.Lanes only: reads that would ride are counted, and run alone
)

// Lease is [pool.Lease]: a connection that Acquire has lent, as pgxpool's Conn is.
type Lease = pool.Lease

// Stat is [pool.Stat]: the pool's numbers.
type Stat = pool.Stat

// Upstream is [pool.Upstream]: what is at the other end of the pool's connections.
type Upstream = pool.Upstream

// These are the values of Upstream; see [pool.Upstream].
const (
	UpstreamAuto      = pool.UpstreamAuto
	UpstreamDirect    = pool.UpstreamDirect
	UpstreamRDSProxy  = pool.UpstreamRDSProxy
	UpstreamPgBouncer = pool.UpstreamPgBouncer
)

// Alone returns a ctx whose statements never share a connection with others (see Config.Lanes): each has a connection for itself. See [pool.Alone].
func Alone(ctx context.Context) context.Context { return pool.Alone(ctx) }

// WithRoute returns a ctx for what runs on behalf of route, such as "orders.get": the server shows "lmipool/<id>/<route>" as the application_name of what goes
// alone. It costs no round trip. See [pool.WithRoute].
func WithRoute(ctx context.Context, route string) context.Context { return pool.WithRoute(ctx, route) }
