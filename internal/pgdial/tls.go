package pgdial

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Secure makes verify-full the default where pgx, as libpq, has prefer, which is no
// protection against anybody who can answer in the server's place: for the databases
// of AWS, whose certificates are for the names by which they are reached, and for any
// host when the caller gives roots, which are PEM. An sslmode of the user's own wins. It changes cc
// for good, so there is no moment in which a dial could do with less, nor one in which
// a failed verification falls back to something else.
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

// sslmodeWord finds the sslmode in either form of a connection string, and its alias.
var sslmodeWord = regexp.MustCompile(`(^|[\s?&'])(sslmode\s*=|ssl=true)`)

// chosen reports whether the user has said which sslmode he wants. pgx does not tell
// its default, prefer, from a chosen one, except by their words. Residue: prefer in a
// service file counts as not chosen.
func chosen(mode sslmode.Mode, cc *pgx.ConnConfig, connString string) bool {
	defaults := mode == sslmode.Prefer ||
		mode == sslmode.Require && cc.SSLNegotiation == "direct" // which makes prefer require
	return !defaults || sslmodeWord.MatchString(connString) || os.Getenv("PGSSLMODE") != ""
}

// addRoots adds roots, in which there is at least one, to those of sslrootcert, or else to the system's.
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

// explainTLS says what to do about err, a failed dial to one of hosts, if TLS failed;
// else "".
func explainTLS(err error, hosts []string) string {
	var (
		invalid  x509.CertificateInvalidError
		wrong    x509.HostnameError
		unknown  x509.UnknownAuthorityError
		noSystem x509.SystemRootsError
	)
	switch {
	case errors.As(err, &wrong):
		return "the server's certificate is for another name: connect by the endpoint's own name, which no CNAME and no IP address stands for"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid now: renew it, unless this machine's clock is wrong"
	case errors.As(err, &unknown), errors.As(err, &noSystem):
		return "no root certificate here vouches for the server's: " + rootsFor(hosts)
	case err != nil && plainText.MatchString(err.Error()):
		return "the server does not speak TLS, so it is not the one that is meant, or has ssl = off; nothing was sent to it"
	}
	return ""
}

// plainText is pgx's error, which has no type. A test holds it against pgx.
var plainText = regexp.MustCompile(`server refused TLS connection`)

// rootsFor says where the missing roots come from.
func rootsFor(hosts []string) string {
	for _, host := range hosts {
		h, ok := awshost.Parse(host)
		switch {
		case !ok:
		case h.Public:
			return "AWS signs this one with public roots; the machine's are missing (package ca-certificates), or give Amazon's as Config.RootCAs"
		case h.Bundle == "":
			return "AWS publishes the roots of RDS for this partition; give them as Config.RootCAs"
		default:
			return "AWS publishes those of RDS. Download " + h.Bundle + " and add\n" +
				"\t//go:embed global-bundle.pem\n" +
				"\tvar rdsRoots []byte\n" +
				"and RootCAs: rdsRoots to the Config"
		}
	}
	return "give that of its authority as Config.RootCAs, or as sslrootcert in the connection string"
}
