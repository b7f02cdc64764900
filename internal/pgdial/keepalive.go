package pgdial

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
	AWSConnectTimeout = 2 * time.Second
	awsKeepAlive      = time.Second
	awsKeepAliveCount = 5
	awsUnacknowledged = awsKeepAlive * (awsKeepAliveCount + 1)
)

// InAWS reports whether a host of cc's has the name of a database in AWS.
func InAWS(cc *pgx.ConnConfig) bool {
	for _, h := range sslmode.Hosts(&cc.Config) {
		if isAWS(h.Host) {
			return true
		}
	}
	return false
}

func isAWS(host string) bool {
	_, ok := awshost.Parse(host)
	return ok
}

// IsRDSProxy reports whether a host of cc's has the name of an RDS Proxy.
func IsRDSProxy(cc *pgx.ConnConfig) bool {
	for _, h := range sslmode.Hosts(&cc.Config) {
		if a, ok := awshost.Parse(h.Host); ok && a.Kind == awshost.Proxy {
			return true
		}
	}
	return false
}

// AWSDialer notices within seconds that a machine is gone that says nothing any more.
func AWSDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: awsKeepAlive, Interval: awsKeepAlive, Count: awsKeepAliveCount},
		Control:         boundUnacknowledged(awsUnacknowledged),
	}
}
