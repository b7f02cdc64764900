package pool

import (
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// What AWS recommends for quick failovers (Aurora User Guide, "Fast failover with Amazon
// Aurora PostgreSQL"). Keepalive probes stop while something is unacknowledged, a statement
// say; the last one is for that, and counts from then.
const (
	awsConnectTimeout = 2 * time.Second
	awsKeepAlive      = time.Second
	awsKeepAliveCount = 5
	awsUnacknowledged = awsKeepAlive * (awsKeepAliveCount + 1)
)

// inAWS reports whether a host of cc's has the name of a database in AWS.
func inAWS(cc *pgx.ConnConfig) bool {
	for _, h := range sslmode.Hosts(&cc.Config) {
		if _, ok := awshost.Parse(h.Host); ok {
			return true
		}
	}
	return false
}

// awsDialer notices within seconds that a machine is gone that says nothing any more.
func awsDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: awsKeepAlive, Interval: awsKeepAlive, Count: awsKeepAliveCount},
		Control:         boundUnacknowledged,
	}
}
