package pgdial

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pattern"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// InAWS reports whether a host of cc has the name of a database in AWS. If kinds are given, the database must be of one of these kinds.
func InAWS(cc *pgx.ConnConfig, kinds ...awshost.Kind) bool {
	return slices.ContainsFunc(sslmode.Hosts(&cc.Config), func(h *pgconn.FallbackConfig) bool {
		a, ok := awshost.Parse(h.Host)
		return ok && (len(kinds) == 0 || slices.Contains(kinds, a.Kind))
	})
}

// ForPooler makes cc suitable for a pooler in transaction mode. If rdsProxy is true, it warns of settings that RDS Proxy may refuse.
func ForPooler(cc *pgx.ConnConfig, rdsProxy bool, log *slog.Logger) {
	cc.DefaultQueryExecMode = PoolerMode(cc)
	if !rdsProxy {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(cc.RuntimeParams)) {
		if name != "application_name" {
			log.Warn("lmipool: RDS Proxy may refuse this setting of the connection string, or give each connection"+
				" a session of its own for it; use ALTER ROLE ... SET", "setting", name)
		}
	}
}

// PoolerMode returns pgx's QueryExecMode for a pooler in transaction mode: the user's if he has set one, else cache_describe, or exec if cc has no cache.
func PoolerMode(cc *pgx.ConnConfig) pgx.QueryExecMode {
	switch {
	case cc.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement || execModeWord.RE().MatchString(cc.ConnString()):
		return cc.DefaultQueryExecMode
	case cc.DescriptionCacheCapacity == 0:
		return pgx.QueryExecModeExec
	}
	return pgx.QueryExecModeCacheDescribe
}

// execModeWord matches a connection string that sets a mode. It is needed because pgx's configuration does not tell its default from a mode that was
// set. It does not see a service file, so cache_statement there counts as not set.
var execModeWord = pattern.Lazy{Text: `(^|[\s?&'])default_query_exec_mode\s*=`}

// pgx 5.12 fixed two vulnerabilities that certain settings expose: GHSA-j38q-h3ph-jjpq, SQL injection through SendBatch in the simple protocol, and
// GHSA-95fj-3fxw-g62g, require_auth and channel_binding=require can be bypassed by an impersonator where TLS does not verify the server. lmipool supports
// 5.11 because no release of pgxmock compiles with 5.12, so it refuses the settings there instead. 5.12 added BeginTx to Batch in the same release. (To
// look for a method by its name with reflect makes each handler's binary 40 kB larger.)
var fixedIn512 = func() bool {
	_, ok := any((*pgx.Batch)(nil)).(interface{ BeginTx(pgx.TxOptions) })
	return ok
}()

// RefuseUnsafe returns an error that names the settings of cc that are unsafe with this version of pgx, or nil.
func RefuseUnsafe(cc *pgx.ConnConfig) error {
	if fixedIn512 {
		return nil
	}
	var errs []error
	refuse := func(setting, advisory, instead string) {
		errs = append(errs, fmt.Errorf("lmipool: %s is not safe with this pgx (%s): use pgx 5.12 or later, or %s", setting, advisory, instead))
	}
	if cc.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		refuse("default_query_exec_mode=simple_protocol", "GHSA-j38q-h3ph-jjpq", "default_query_exec_mode=exec")
	}
	// Only verify-full has TLS without InsecureSkipVerify.
	if t := cc.TLSConfig; t == nil || t.InsecureSkipVerify {
		const instead = "sslmode=verify-full"
		if len(cc.RequireAuth) > 0 {
			refuse("require_auth without a verified server", "GHSA-95fj-3fxw-g62g", instead)
		}
		if cc.ChannelBinding == "require" {
			refuse("channel_binding=require without a verified server", "GHSA-95fj-3fxw-g62g", instead)
		}
	}
	return errors.Join(errs...)
}

// RefuseDSQL returns an error if a host of cc is Aurora DSQL, or nil. The names are AWS's own, so a CNAME is not found.
func RefuseDSQL(cc *pgx.ConnConfig) error {
	for _, h := range sslmode.Hosts(&cc.Config) {
		if a, ok := awshost.Parse(h.Host); ok && a.Kind == awshost.DSQL {
			return fmt.Errorf("lmipool: host %s is Aurora DSQL, which lmipool does not support: it has no advisory locks and no temporary tables, which a reset between"+
				" two invocations takes away, and no savepoints: want a PostgreSQL server, RDS or Aurora PostgreSQL", h.Host)
		}
	}
	return nil
}

// SameFunc reports whether two functions have the same code, since Go cannot compare functions. It is also true for the same method of two receivers.
func SameFunc[F any](a, b F) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// Secure makes verify-full the default sslmode for the databases of AWS, whose certificates have the names by which they are reached. If the caller gives
// roots, in PEM, it does so for any host. The default of pgx and libpq, prefer, does not protect against an impostor. An sslmode that the user has set is
// kept. Secure changes cc itself, so no dial can use less, and a verification that fails cannot fall back to plain text. It returns the sslmode and who
// has chosen it, or "" for both if cc has only a socket in the file system.
func Secure(cc *pgx.ConnConfig, connString string, roots []byte, log *slog.Logger) (mode sslmode.Mode, by string) {
	guarded := func(host string) bool {
		_, inAWS := awshost.Parse(host)
		return len(roots) > 0 || inAWS
	}
	if mode = sslmode.Of(&cc.Config); mode == "" {
		return "", ""
	}
	addRoots(cc, roots)
	if by = chosen(mode, cc, connString); by == "" {
		sslmode.Verify(&cc.Config, guarded)
		switch now := sslmode.Of(&cc.Config); {
		case now == mode:
			return mode, "default of pgx"
		case len(roots) > 0:
			return now, "default with RootCAs"
		default:
			return now, "default for a host of AWS"
		}
	}
	if mode == sslmode.VerifyFull {
		return mode, by
	}
	for _, h := range sslmode.Hosts(&cc.Config) {
		if !sslmode.Socket(h.Host) && guarded(h.Host) {
			log.Warn("lmipool: the connection string's sslmode does not verify the server;"+
				" if it has no sslmode, lmipool uses verify-full here", "sslmode", string(mode), "host", h.Host)
			break
		}
	}
	return mode, by
}

// sslmodeWord matches sslmode, or its alias ssl=true, in either form of a connection string.
var sslmodeWord = pattern.Lazy{Text: `(^|[\s?&'])(sslmode\s*=|ssl=true)`}

// chosen returns who has set an sslmode, or "" if nobody has. In pgx's configuration a prefer that was set looks like the default, so chosen reads the
// connection string and the environment. It does not read a service file: prefer there counts as not set.
func chosen(mode sslmode.Mode, cc *pgx.ConnConfig, connString string) string {
	defaults := mode == sslmode.Prefer ||
		mode == sslmode.Require && cc.SSLNegotiation == "direct" // direct negotiation turns prefer into require
	switch {
	case sslmodeWord.RE().MatchString(connString):
		return "connection string"
	case os.Getenv("PGSSLMODE") != "":
		return "PGSSLMODE"
	case !defaults:
		return "service file, or TLSConfig"
	}
	return ""
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
