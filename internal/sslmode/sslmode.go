// Package sslmode finds out which sslmode a configuration of pgx's has, and can raise it to verify-full. pgx does not keep the word sslmode. It keeps
// a TLS configuration for each host, and fallbacks. This package reads those, so it also sees what a hook has changed.
package sslmode

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Mode is a value of sslmode. A configuration that has only sockets in the file system has the Mode "".
type Mode string

const (
	Disable    Mode = "disable"
	Allow      Mode = "allow"
	Prefer     Mode = "prefer"
	Require    Mode = "require"
	VerifyCA   Mode = "verify-ca"
	VerifyFull Mode = "verify-full"
)

// Hosts returns the candidates of c in the order in which pgx tries them. With the modes allow and prefer a host is there twice, with TLS and
// without.
func Hosts(c *pgconn.Config) []*pgconn.FallbackConfig {
	return append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
}

// SetHosts sets the candidates of c. hosts must not be empty.
func SetHosts(c *pgconn.Config, hosts []*pgconn.FallbackConfig) {
	c.Host, c.Port, c.TLSConfig = hosts[0].Host, hosts[0].Port, hosts[0].TLSConfig
	c.Fallbacks = hosts[1:]
}

// Of returns the weakest mode that c allows. pgx uses one sslmode for all hosts, but a hook may have changed some of them.
func Of(c *pgconn.Config) Mode {
	mode := Mode("")
	plain, plainFirst := false, false
	for _, h := range Hosts(c) {
		t := h.TLSConfig
		switch {
		case Socket(h.Host):
		case t == nil:
			plain = true
			plainFirst = plainFirst || mode == ""
		case t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil:
			mode = Require
		case t.InsecureSkipVerify && mode != Require:
			mode = VerifyCA
		case mode == "":
			mode = VerifyFull
		}
	}
	switch {
	case !plain:
		return mode
	case mode == "":
		return Disable
	case plainFirst:
		return Allow
	}
	return Prefer
}

// Verify makes c verify-full for each host for which which returns true, and removes the host's candidates without TLS. The mode of c must not be
// [Disable]. The roots stay as they are, and so do checks of the user's own (VerifyPeerCertificate, VerifyConnection).
func Verify(c *pgconn.Config, which func(host string) bool) {
	var hosts []*pgconn.FallbackConfig
	for _, h := range Hosts(c) {
		if Socket(h.Host) || !which(h.Host) {
			hosts = append(hosts, h)
			continue
		}
		if h.TLSConfig == nil {
			continue
		}
		t := h.TLSConfig.Clone()
		t.InsecureSkipVerify = false
		t.ServerName = h.Host
		hosts = append(hosts, &pgconn.FallbackConfig{Host: h.Host, Port: h.Port, TLSConfig: t})
	}
	SetHosts(c, hosts)
}

// Socket reports whether pgx takes host for the path of a socket in the file system.
func Socket(host string) bool {
	return strings.HasPrefix(host, "/") || len(host) > 2 && host[1] == ':' && host[2] == '\\'
}
