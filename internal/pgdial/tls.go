package pgdial

import (
	"crypto/x509"
	"log/slog"
	"os"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/sslmode"
)

// Secure makes verify-full the default for the databases of AWS, since their certificates are for the names by which they are reached, and for any
// host if the caller gives roots, in PEM. The default of pgx and libpq is prefer, which does not protect against an impostor who answers in the
// server's place. An sslmode that the user has set wins. Secure changes cc itself, so no dial can use less, and a verification that fails cannot fall
// back.
func Secure(cc *pgx.ConnConfig, connString string, roots []byte, log *slog.Logger) {
	guarded := func(host string) bool { return len(roots) > 0 || isAWS(host) }
	mode := sslmode.Of(&cc.Config)
	if mode == "" { // a socket in the file system
		return
	}
	addRoots(cc, roots)
	if !chosen(mode, cc, connString) {
		sslmode.Verify(&cc.Config, nil, guarded)
		return
	}
	if mode == sslmode.VerifyFull {
		return
	}
	for _, h := range sslmode.Hosts(&cc.Config) {
		if !sslmode.Socket(h.Host) && guarded(h.Host) {
			log.Warn("lmipool: the connection string's sslmode does not verify the server;"+
				" if it has no sslmode, lmipool uses verify-full here", "sslmode", string(mode), "host", h.Host)
			return
		}
	}
}

// sslmodeWord matches sslmode, or its alias ssl=true, in either form of a connection string.
var sslmodeWord = regexp.MustCompile(`(^|[\s?&'])(sslmode\s*=|ssl=true)`)

// chosen reports whether the user has set an sslmode. pgx's configuration does not tell its default, prefer, from a prefer that was set, so chosen
// reads the connection string and the environment. It does not read a service file: prefer there counts as not set.
func chosen(mode sslmode.Mode, cc *pgx.ConnConfig, connString string) bool {
	defaults := mode == sslmode.Prefer ||
		mode == sslmode.Require && cc.SSLNegotiation == "direct" // direct negotiation turns prefer into require
	return !defaults || sslmodeWord.MatchString(connString) || os.Getenv("PGSSLMODE") != ""
}

// addRoots adds roots to those of sslrootcert, or to the system's if there is no sslrootcert.
func addRoots(cc *pgx.ConnConfig, roots []byte) {
	if len(roots) == 0 {
		return
	}
	for _, h := range sslmode.Hosts(&cc.Config) {
		t := h.TLSConfig
		if t == nil {
			continue
		}
		all := x509.NewCertPool()
		if t.RootCAs != nil {
			all = t.RootCAs.Clone()
		} else if system, err := x509.SystemCertPool(); err == nil { // a machine may have none
			all = system
		}
		all.AppendCertsFromPEM(roots)
		t.RootCAs = all // t itself is changed, because pgx's check for verify-ca reads t.RootCAs
	}
}
