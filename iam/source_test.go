package iam_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/iam"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// scope is the region that a token is signed for, and the endpoint.
func scope(t *testing.T, token string) (endpoint, region string) {
	t.Helper()
	endpoint, _, _ = strings.Cut(token, "?")
	_, rest, ok := strings.Cut(token, "X-Amz-Credential=AKID1%2F")
	require.True(t, ok, "no credential")
	return endpoint, strings.Split(rest, "%2F")[1]
}

func TestTheRegionIsInTheName(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_DEFAULT_REGION", "ap-south-1")
	const global = "app.global-abc123.global.rds.amazonaws.com"
	for _, c := range []struct {
		host     string
		config   iam.Config
		endpoint string
		region   string
		warns    string
	}{
		{"DB.abc123.us-east-1.rds.amazonaws.com.", iam.Config{}, "db.abc123.us-east-1.rds.amazonaws.com:5432", "us-east-1", ""},
		{"app.cluster-ro-abc123.rds.cn-north-1.amazonaws.com.cn", iam.Config{}, "", "cn-north-1", ""},
		{"app.proxy-abc123.us-gov-west-1.rds.amazonaws.com", iam.Config{}, "", "us-gov-west-1", ""},
		{global, iam.Config{}, "", "eu-central-1", ""},
		{global, iam.Config{Region: "us-west-2"}, "", "us-west-2", ""},
		{"db.abc123.us-east-1.rds.amazonaws.com", iam.Config{Region: "us-west-2"}, "", "us-west-2", "not the region in the endpoint's name"},
		{"db.example.com", iam.Config{}, "", "eu-central-1", "host=db.example.com"},
		{"localhost", iam.Config{Endpoint: "db.abc123.us-east-1.rds.amazonaws.com:5433"}, "db.abc123.us-east-1.rds.amazonaws.com:5433", "us-east-1", ""},
		{"db.example.com", iam.Config{Endpoint: "db.abc123.us-east-1.rds.amazonaws.com"}, "db.abc123.us-east-1.rds.amazonaws.com:5432", "us-east-1", ""},
		{"::1", iam.Config{Region: "eu-west-1"}, "[::1]:5432", "eu-west-1", "host=::1"},
	} {
		log := &logs{}
		c.config.Logger = log.logger()
		source := iam.New(roleWith(key("1")), &c.config)
		for range 2 {
			token, err := source.Token(t.Context(), c.host, 5432, "app")
			require.NoError(t, err)
			endpoint, region := scope(t, token)
			assert.Equal(t, c.region, region, c.host)
			if c.endpoint == "" {
				c.endpoint = c.host + ":5432"
			}
			assert.Equal(t, c.endpoint, endpoint)
		}
		if c.warns == "" {
			assert.Empty(t, log.all(), c.host)
		} else if assert.Len(t, log.all(), 1, "%s: once", c.host) {
			assert.Contains(t, log.all()[0], c.warns)
		}
	}
	t.Setenv("AWS_REGION", "")
	source := iam.New(roleWith(key("1")), nil)
	token, err := source.Token(t.Context(), global, 5432, "app")
	require.NoError(t, err)
	_, region := scope(t, token)
	assert.Equal(t, "ap-south-1", region)
	t.Setenv("AWS_DEFAULT_REGION", "")
	_, err = source.Token(t.Context(), global, 5432, "app")
	assert.EqualError(t, err, "lmipool: iam: no region for "+global+": want Config.Region or AWS_REGION")
}

func TestWhatIsWrongIsSaidByTheFirstUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		credentials aws.CredentialsProvider
		config      *iam.Config
		host        string
		want        []string
	}{
		{nil, nil, writer, []string{"New got no credentials"}},
		{roleWith(key("1")), &iam.Config{Timeout: -1, Region: "eu west", Endpoint: "https://x/"}, writer, []string{
			"lmipool: iam: Config.Timeout is -1ns: want a positive duration, or 0 for the default",
			`lmipool: iam: Config.Region is "eu west": want a region such as "eu-west-1", or "" for the endpoint's`,
			`lmipool: iam: Config.Endpoint is "https://x/": want "host" or "host:port"`,
		}},
		{roleWith(key("1")), &iam.Config{Endpoint: "x:99999"}, writer, []string{"Config.Endpoint"}},
		{roleWith(key("1")), &iam.Config{Endpoint: ":5432"}, writer, []string{"Config.Endpoint"}},
		{roleWith(aws.Credentials{}), nil, writer, []string{"the provider has no keys"}},
		{aws.AnonymousCredentials{}, nil, writer, []string{"lmipool: iam: credentials for app at " + writer}},
		{(*aws.CredentialsCache)(nil), nil, writer, []string{"the credentials provider panicked"}},
		{roleWith(key("1")), nil, "abc.dsql.us-east-1.on.aws", []string{"Aurora DSQL"}},
	} {
		if c.config == nil {
			c.config = &iam.Config{}
		}
		c.config.Logger = (&logs{}).logger()
		cc, err := pgx.ParseConfig("user=app host=" + c.host)
		require.NoError(t, err)
		err = iam.New(c.credentials, c.config).BeforeConnect(t.Context(), cc)
		for _, want := range c.want {
			assert.ErrorContains(t, err, want)
		}
	}
}

func TestATokenLeavesOverTLSOnly(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]sslmode.Mode{
		"host=" + writer: sslmode.VerifyFull,
		"sslmode=prefer host=" + writer + "," + reader: sslmode.VerifyFull,
		"sslmode=allow host=" + writer:                 sslmode.VerifyFull,
		"sslmode=require host=" + writer:               sslmode.Require,
		"sslmode=verify-ca host=" + writer:             sslmode.VerifyCA,
		"sslmode=verify-full host=" + writer:           sslmode.VerifyFull,
		"sslmode=disable host=" + writer:               "",
		"host=/run/postgresql":                         "",
		"host=" + writer + ",/run/postgresql":          "",
	} {
		log := &logs{}
		source := iam.New(roleWith(key("1")), &iam.Config{Logger: log.logger()})
		warnings := 0
		for range 3 {
			cc, err := pgx.ParseConfig("user=app " + dsn)
			require.NoError(t, err)
			err = source.BeforeConnect(t.Context(), cc)
			if want == "" {
				assert.ErrorContains(t, err, "lmipool: iam: no TLS to ", dsn)
				assert.Empty(t, cc.Password)
				continue
			}
			require.NoError(t, err, dsn)
			assert.Equal(t, want, sslmode.Of(&cc.Config), dsn)
			assert.NotEmpty(t, cc.Password)
			if want != sslmode.VerifyFull {
				warnings = 1
			}
		}
		assert.Len(t, log.all(), warnings, dsn)
	}
}

func TestNoSecretInAnyValue(t *testing.T) {
	t.Parallel()
	r := roleWith(key("1"))
	// A provider that is a plain struct shows its fields in whatever shows it.
	static := aws.CredentialsProvider(struct {
		aws.CredentialsProvider
		Value aws.Credentials
	}{r, key("1")})
	log := &logs{}
	config := &iam.Config{Region: "eu-west-1", Timeout: time.Second, Logger: log.logger()}
	source := iam.New(static, config)
	token, err := source.Token(t.Context(), writer, 5432, "app")
	require.NoError(t, err)
	_, signature, _ := strings.Cut(token, "X-Amz-Signature=")
	require.Len(t, signature, 64)
	cc, err := pgx.ParseConfig("user=app host=" + writer)
	require.NoError(t, err)
	require.NoError(t, source.BeforeConnect(t.Context(), cc))
	failing := iam.New(roleWith(aws.Credentials{}), nil)
	_, failure := failing.Token(t.Context(), writer, 5432, "app")
	poolConfig := lmipool.Config{BeforeConnect: source.BeforeConnect, Logger: log.logger()}
	db, err := lmipool.Open(t.Context(), "host="+writer+" user=app password=hunter2", &poolConfig)
	require.NoError(t, err)
	defer db.Close()

	var text, jsons bytes.Buffer
	for _, v := range []any{
		source,
		struct{ S *iam.Source }{source},
		config, *config, failure,
		poolConfig, &poolConfig, db, db.Pool, db.Stat(), *db.Stat(),
		map[string]any{"source": source},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&text, verb, v)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "v", v)
		b, _ := json.Marshal(v)
		jsons.Write(b)
	}
	shown := text.String() + jsons.String() + strings.Join(log.all(), "\n")
	// What its fields would show in a copy.
	shown += source.Shown()
	require.Greater(t, len(shown), 1000)
	for _, secret := range []string{signature, "SECRETKEY", "SESSIONTOKEN", "hunter2", "X-Amz", fmt.Sprintf("%x", "SECRETKEY")} {
		assert.NotContains(t, shown, secret)
	}
}
