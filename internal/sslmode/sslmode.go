// Package sslmode reads and raises what a connection string's sslmode became. pgx
// keeps no word of it, only a TLS configuration per host and fallbacks to others, so
// this package asks those, also after a hook has changed them.
package sslmode

import (
	"crypto/x509"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Mode is a value of sslmode. The empty Mode is that of a socket in the file system.
type Mode string

const (
	Disable    Mode = "disable"
	Allow      Mode = "allow"
	Prefer     Mode = "prefer"
	Require    Mode = "require"
	VerifyCA   Mode = "verify-ca"
	VerifyFull Mode = "verify-full"
)

// Hosts are the candidates of c in the order in which pgx tries them. A mode that falls
// back to another has a host twice.
func Hosts(c *pgconn.Config) []*pgconn.FallbackConfig {
	return append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
}

// SetHosts gives c its candidates, of which there must be one.
func SetHosts(c *pgconn.Config, hosts []*pgconn.FallbackConfig) {
	c.Host, c.Port, c.TLSConfig = hosts[0].Host, hosts[0].Port, hosts[0].TLSConfig
	c.Fallbacks = hosts[1:]
}

// Of is the weakest that c allows: pgx has one sslmode for all hosts, a hook may not.
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

// Verify makes c verify-full for each host that which names: what falls back to plain
// text is gone. c must not be [Disable]. Nil roots leave those of sslrootcert, or else
// the system's.
func Verify(c *pgconn.Config, roots *x509.CertPool, which func(host string) bool) {
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
		t.InsecureSkipVerify, t.VerifyPeerCertificate = false, nil
		t.ServerName = h.Host
		if roots != nil {
			t.RootCAs = roots
		}
		hosts = append(hosts, &pgconn.FallbackConfig{Host: h.Host, Port: h.Port, TLSConfig: t})
	}
	SetHosts(c, hosts)
}

// Socket reports whether host is a directory with a socket in it, as pgx sees it.
func Socket(host string) bool {
	return strings.HasPrefix(host, "/") || len(host) > 2 && host[1] == ':' && host[2] == '\\'
}
