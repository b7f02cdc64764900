package iam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Config has the options of a [Source]. New reads Config once. The zero value of a field means its default.
type Config struct {
	// Region is the database's region. Set it if the endpoint's name has no region, as the name of a global database has none. Defaults to the region
	// in the endpoint's name, else to AWS_REGION, else to AWS_DEFAULT_REGION.
	Region string

	// Endpoint is the "host" or "host:port" that tokens are signed for, if another host is dialed. RDS accepts only tokens for its own endpoint, so
	// if you dial a CNAME or a tunnel, set the endpoint behind it. RDS's certificate has only that name, too, so through a CNAME verify-full cannot
	// succeed: dial the endpoint if you can. Defaults to the host that is dialed.
	Endpoint string

	// Timeout bounds the signing of one token, for which the provider may ask AWS for credentials. Defaults to 5 seconds.
	Timeout time.Duration

	// Logger gets a record of each refused token, of each failure to replace a token in time, and warnings about the settings. Defaults to
	// [slog.Default].
	Logger *slog.Logger
}

const defaultTimeout = 5 * time.Second

// Source makes tokens, and keeps one for each endpoint and user. Make one Source for each IAM role, with [New]. A Source is safe for concurrent use,
// and needs no closing.
type Source struct {
	// Secrets are behind funcs and pointers, so that no verb of fmt shows them.
	sign func(context.Context, identity) (*token, error)
	drop func() // makes the provider fetch new credentials; it is nil if the provider cannot

	cfg   Config
	fault error // the fault in New's arguments; every use returns it

	mu     sync.Mutex
	tokens map[identity]*entry
	warned map[string]bool
}

// New returns a Source. The Source calls credentials for each token, so the keys may rotate. Set the pool's Config.BeforeConnect to the Source's
// method of that name. A nil config means all defaults. If an argument is wrong, every use of the Source returns an error.
func New(credentials aws.CredentialsProvider, config *Config) *Source {
	s := &Source{tokens: make(map[identity]*entry), warned: make(map[string]bool)}
	if config != nil {
		s.cfg = *config
	}
	s.fault = s.cfg.validate()
	if credentials == nil {
		s.fault = errors.Join(errors.New("lmipool: iam: New got no credentials: want those of config.LoadDefaultConfig, say"), s.fault)
	}
	if s.cfg.Timeout == 0 {
		s.cfg.Timeout = defaultTimeout
	}
	if s.cfg.Logger == nil {
		s.cfg.Logger = slog.Default()
	}
	s.cfg.Logger = safelog.Guard(s.cfg.Logger)
	s.sign = func(ctx context.Context, id identity) (*token, error) { return sign(ctx, credentials, id) }
	if c, ok := credentials.(interface{ Invalidate() }); ok {
		s.drop = c.Invalidate
	}
	return s
}

// check returns the error of every use of a Source that is nil or not from New, and of a nil ctx.
func (s *Source) check(ctx context.Context) error {
	switch {
	case s == nil || s.sign == nil:
		return misconfiguredf("lmipool: iam: the Source is nil, or not from New")
	case ctx == nil:
		return errors.New("lmipool: iam: the ctx is nil: use context.Background")
	}
	return nil
}

// Format writes the type of s, whatever the verb, since fmt would read the fields of s without the lock.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprint(f, "iam.Source()") }

func (c *Config) validate() error {
	var errs []error
	fault := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("lmipool: iam: Config.%s is %v: want %s", field, value, want))
	}
	if c.Timeout < 0 {
		fault("Timeout", c.Timeout, "a positive duration, or 0 for the default")
	}
	if strings.ContainsAny(c.Region, "./: ") {
		fault("Region", strconv.Quote(c.Region), `a region such as "eu-west-1", or "" for the endpoint's`)
	}
	if c.Endpoint != "" {
		if _, _, err := splitEndpoint(c.Endpoint); err != nil {
			fault("Endpoint", shown(c.Endpoint), `"host" or "host:port"`)
		}
	}
	return errors.Join(errs...)
}

// shown returns s in quotes for an error text. If s may contain a password, shown returns no part of it.
func shown(s string) string {
	if strings.ContainsAny(s, "@=") {
		return "what looks like a connection string"
	}
	return strconv.Quote(s)
}

// splitEndpoint splits "host" or "host:port". port is 0 if s has none.
func splitEndpoint(s string) (host string, port uint16, err error) {
	if strings.ContainsAny(s, "/@? ") {
		return "", 0, errors.New("not a host")
	}
	if !strings.Contains(s, ":") {
		return s, 0, nil
	}
	host, number, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err == nil && (n == 0 || host == "") {
		err = errors.New("no host or port")
	}
	return host, uint16(n), err
}

// Token returns a token for user at the endpoint host:port, for use outside of pgx, as in a migration tool. The token is a password, and
// BeforeConnect uses the same one. The wait for it ends when ctx ends or Config.Timeout is over.
func (s *Source) Token(ctx context.Context, host string, port uint16, user string) (string, error) {
	if err := s.check(ctx); err != nil {
		return "", err
	}
	id, err := s.identity(host, port, user)
	if err != nil {
		return "", err
	}
	t, err := s.token(ctx, id)
	if err != nil {
		return "", err
	}
	return t.value(), nil
}

// BeforeConnect sets the password of cc to the token. cc must be a copy for one dial, as pgxpool and lmipool give it. If cc has several hosts, each
// gets its own token. Tokens are sent over TLS only: sslmode prefer (pgx's default) and allow become verify-full, disable is an error, and require
// and verify-ca stay, with a warning.
//
// The wait for a token ends when ctx ends or Config.Timeout is over.
func (s *Source) BeforeConnect(ctx context.Context, cc *pgx.ConnConfig) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := s.secure(cc); err != nil {
		return err
	}
	d := &dial{s: s}
	for _, h := range sslmode.Hosts(&cc.Config) {
		id, err := s.identity(h.Host, h.Port, cc.User)
		if err != nil {
			return err
		}
		t, err := s.token(ctx, id)
		if err != nil {
			return err
		}
		d.tokens = append(d.tokens, t)
	}
	d.current.Store(d.tokens[0])
	cc.Password = d.tokens[0].value()
	for _, t := range d.tokens[1:] {
		if t != d.tokens[0] {
			d.perHost(cc)
			break
		}
	}
	d.listen(cc)
	return nil
}

// secure makes sure that no host of cc is tried without TLS.
func (s *Source) secure(cc *pgx.ConnConfig) error {
	switch mode := sslmode.Of(&cc.Config); mode {
	case "", sslmode.Disable:
		return misconfiguredf("lmipool: iam: no TLS to %s, and a token must not be sent in clear text: want sslmode=verify-full in the connection string", cc.Host)
	case sslmode.Allow, sslmode.Prefer:
		sslmode.Verify(&cc.Config, func(string) bool { return true })
	case sslmode.Require, sslmode.VerifyCA:
		s.warnOnce("sslmode", "lmipool: iam: whoever answers in the server's place gets the token: want sslmode=verify-full",
			"sslmode", string(mode), "host", cc.Host)
	}
	for _, h := range sslmode.Hosts(&cc.Config) {
		if h.TLSConfig == nil {
			return misconfiguredf("lmipool: iam: no TLS to %s: want only hosts with TLS in the connection string", h.Host)
		}
	}
	return nil
}

// identity is the user, endpoint and region that a token is signed for.
type identity struct {
	host   string
	port   uint16
	region string
	user   string
}

func (id identity) String() string {
	return id.user + " at " + net.JoinHostPort(id.host, strconv.Itoa(int(id.port))) + " in " + id.region
}

// identity returns what a token for a dial to host must be signed for.
func (s *Source) identity(host string, port uint16, user string) (identity, error) {
	if s.fault != nil {
		return identity{}, pgerr.Config(s.fault)
	}
	if s.cfg.Endpoint != "" {
		h, p, _ := splitEndpoint(s.cfg.Endpoint)
		host = h
		if p != 0 {
			port = p
		}
	}
	id := identity{host: awshost.Normal(host), port: port, region: s.cfg.Region, user: user}
	h, known := awshost.Parse(host)
	switch {
	case h.Kind == awshost.DSQL:
		return identity{}, misconfiguredf("lmipool: iam: %s is Aurora DSQL, whose tokens are of another kind: want an endpoint of RDS or Aurora", host)
	case !known:
		s.warnOnce(host, "lmipool: iam: not the name of an RDS endpoint; tokens are signed for it, and RDS takes them for its own name only: "+
			"dial the endpoint itself, or set Config.Endpoint to it", "host", host)
	case id.region != "" && h.Region != "" && id.region != h.Region:
		s.warnOnce(host, "lmipool: iam: Config.Region is not the region in the endpoint's name", "host", host, "region", id.region)
	}
	if id.region == "" {
		id.region = h.Region
	}
	for _, v := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if id.region == "" {
			id.region = os.Getenv(v)
		}
	}
	if id.region == "" {
		return identity{}, misconfiguredf("lmipool: iam: no region for %s: want Config.Region or AWS_REGION", host)
	}
	return id, nil
}

// warnOnce logs a warning once for each key, and not for each dial.
func (s *Source) warnOnce(key, message string, attrs ...any) {
	s.mu.Lock()
	before := s.warned[key]
	s.warned[key] = true
	s.mu.Unlock()
	if !before {
		s.cfg.Logger.Warn(message, attrs...)
	}
}
