package iam_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/iam"
	"github.com/lmipool/lmipool/pool"
)

// apiError is what the SDK's errors know of an answer of AWS.
type apiError struct {
	status int
	code   string
}

func (e *apiError) Error() string       { return fmt.Sprint(e.status, " ", e.code) }
func (e *apiError) HTTPStatusCode() int { return e.status }
func (e *apiError) ErrorCode() string   { return e.code }

// What a token's error means is known to whoever asks package pool, here and behind a dial.
func TestWhatToDoAboutATokenThatCannotBeHad(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	good := roleWith(key("1"))
	failing := func(err error) aws.CredentialsProvider {
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, err })
	}
	hanging := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		<-ctx.Done()
		return aws.Credentials{}, ctx.Err()
	})
	deaf := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		<-ctx.Done()
		time.Sleep(time.Second)
		return aws.Credentials{}, ctx.Err()
	})
	region := &iam.Config{Region: region, Timeout: 50 * time.Millisecond}
	for name, c := range map[string]struct {
		source    *iam.Source
		dsn       string
		mend, try bool
	}{
		"no provider":        {source: iam.New(nil, nil), mend: true},
		"a wrong Config":     {source: iam.New(good, &iam.Config{Endpoint: "/"}), mend: true},
		"no region":          {source: iam.New(good, nil), dsn: "host=db.internal user=app sslmode=require", mend: true},
		"DSQL":               {source: iam.New(good, nil), dsn: "host=abc.dsql.eu-west-1.on.aws user=app sslmode=require", mend: true},
		"no TLS":             {source: iam.New(good, region), dsn: "host=" + writer + " user=app sslmode=disable", mend: true},
		"no keys":            {source: iam.New(roleWith(aws.Credentials{}), region), mend: true},
		"denied":             {source: iam.New(failing(&apiError{403, "AccessDenied"}), region), mend: true},
		"none to be found":   {source: iam.New(failing(errors.New("no EC2 IMDS role found")), region), mend: true},
		"throttled":          {source: iam.New(failing(fmt.Errorf("STS: %w", &apiError{400, "ThrottlingException"})), region), try: true},
		"AWS is away":        {source: iam.New(failing(&apiError{503, ""}), region), try: true},
		"the network is":     {source: iam.New(failing(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), region), try: true},
		"too late":           {source: iam.New(hanging, region), try: true},
		"too late, and deaf": {source: iam.New(deaf, region), try: true},
		"a panic": {source: iam.New(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			panic("no")
		}), region)},
	} {
		t.Run(name, func(t *testing.T) {
			if c.dsn == "" {
				c.dsn = "host=" + writer + " user=app sslmode=require"
			}
			cc, err := pgx.ParseConfig(c.dsn)
			require.NoError(t, err)
			err = c.source.BeforeConnect(t.Context(), cc)
			require.Error(t, err)
			p, perr := pool.New(t.Context(), c.dsn, &pool.Config{BeforeConnect: c.source.BeforeConnect, Logger: (&logs{}).logger()})
			if perr == nil {
				defer p.Close()
				perr = p.Ping(t.Context())
			} else {
				require.Equal(t, "DSQL", name, "only its host is refused by New")
			}
			for _, err := range []error{err, perr} {
				assert.Equal(t, []bool{c.mend, c.try, false}, []bool{pool.Misconfigured(err), pool.Retryable(err), pool.OutcomeUnknown(err)}, "%v", err)
			}
		})
	}
}
