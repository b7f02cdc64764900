package pgdial

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pattern"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Explain returns err, the error of a dial to one of hosts, and adds what to do about it. It removes the password, which pgx keeps in the
// configuration inside each of its errors. direct says that the pool's configuration names no pooler.
func Explain(err error, hosts []string, direct bool) error {
	var ce *pgconn.ConnectError
	tls, nothing := true, false
	if errors.As(err, &ce) && ce.Config != nil {
		nothing, ce.Config.Password = ce.Config.Password == "", "" // the configuration belongs to this dial alone
		switch sslmode.Of(ce.Config) {
		case sslmode.Disable, sslmode.Allow, sslmode.Prefer: // pgx has tried plain text too
			tls = false
		}
	}
	var e *pgconn.PgError
	isPg, advice := errors.As(err, &e), ""
	if isPg {
		advice = explainPooler(e, direct)
	}
	if tls {
		advice = cmp.Or(explainTLS(err, hosts), advice)
	}
	if nothing && refused(err) && passwordWord.RE().MatchString(err.Error()) {
		advice = "no password was given: not in the connection string, PGPASSWORD or a passfile, and BeforeConnect has set none"
	}
	if advice == "" && isPg {
		advice = e.Hint
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// passwordWord matches an error that is about a password and not about the user or his address.
var passwordWord = pattern.Lazy{Text: `28P01|authentication failed`}

// explainPooler says what to do about e if it comes from a pooler; otherwise it returns "".
func explainPooler(e *pgconn.PgError, direct bool) string {
	switch {
	case unsupportedParameter.RE().MatchString(e.Message):
		return "PgBouncer takes this setting of the connection string only if its ignore_startup_parameters names it; ALTER ROLE ... SET works without that"
	case direct && (e.Code == "42P05" || e.Code == "26000"):
		return `another client's prepared statements are in this session, so there is a pooler in transaction mode in between: say so with Config.Upstream, "pgbouncer" or "rds-proxy"`
	}
	return ""
}

// unsupportedParameter matches PgBouncer's message. PgBouncer uses the code 08P01 for all errors.
var unsupportedParameter = pattern.Lazy{Text: `^unsupported startup parameter`}

// explainTLS says what to do about err, of a dial to one of hosts, if TLS failed; otherwise it returns "".
func explainTLS(err error, hosts []string) string {
	var (
		invalid  x509.CertificateInvalidError
		wrong    x509.HostnameError
		unknown  x509.UnknownAuthorityError
		noSystem x509.SystemRootsError
	)
	switch {
	case errors.As(err, &wrong):
		return "the server's certificate is for another name: connect by the endpoint's own name, not by a CNAME or an IP address"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid now: renew it, unless this machine's clock is wrong"
	case errors.As(err, &unknown), errors.As(err, &noSystem):
		return "no root certificate here belongs to the authority that signed the server's: " + rootsFor(hosts)
	case err != nil && plainText.RE().MatchString(err.Error()):
		return "the server does not speak TLS: it is the wrong server, or has ssl = off; nothing was sent to it"
	}
	return ""
}

// plainText matches pgx's error, which has no type. A test compares it with pgx's.
var plainText = pattern.Lazy{Text: `server refused TLS connection`}

// rootsFor returns where to get the roots that are missing, and where to put them.
func rootsFor(hosts []string) string {
	for _, host := range hosts {
		h, ok := awshost.Parse(host)
		switch {
		case !ok:
		case h.Public:
			return "AWS signs this one with public roots, which are missing on this machine: install the package ca-certificates, or give Amazon's roots as Config.RootCAs"
		case h.Bundle == "":
			return "AWS publishes the roots of RDS for this partition; give them as Config.RootCAs"
		default:
			return "AWS publishes the roots of RDS. Download " + h.Bundle + " and add\n" +
				"\t//go:embed global-bundle.pem\n" +
				"\tvar rdsRoots []byte\n" +
				"and RootCAs: rdsRoots to the Config"
		}
	}
	return "give the root certificate of that authority as Config.RootCAs, or as sslrootcert in the connection string"
}
