package pgdial

import (
	"crypto/x509"
	"log/slog"
	"os"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/sslmode"
)

// Secure makes verify-full the default for the databases of AWS, whose certificates are for the names by which they are reached, and for any host if
// the caller gives roots, in PEM. pgx and libpq have prefer as default, which does not protect against somebody who answers in the server's place. An
// sslmode of the user's own wins. Secure changes cc itself, once, so no dial can use less, and a failed verification cannot fall back to something
// else.
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
			log.Warn("lmipool: the connection string's sslmode does not make sure who the server is;"+
				" without one lmipool takes verify-full here", "sslmode", string(mode), "host", h.Host)
			return
		}
	}
}

// sslmodeWord finds sslmode, or its alias, in either form of a connection string.
var sslmodeWord = regexp.MustCompile(`(^|[\s?&'])(sslmode\s*=|ssl=true)`)

// chosen reports whether the user has set an sslmode. In pgx's configuration its default, prefer, looks like a chosen one, so the connection string and
// the environment are read. Residue: prefer in a service file counts as not chosen.
func chosen(mode sslmode.Mode, cc *pgx.ConnConfig, connString string) bool {
	defaults := mode == sslmode.Prefer ||
		mode == sslmode.Require && cc.SSLNegotiation == "direct" // which makes prefer require
	return !defaults || sslmodeWord.MatchString(connString) || os.Getenv("PGSSLMODE") != ""
}

// addRoots adds roots to those of sslrootcert, or else to the system's.
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
		t.RootCAs = all // in place: pgx's check of verify-ca looks here
	}
}
