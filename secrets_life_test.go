package lmipool_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/iam"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/tlstest"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
	"github.com/lmipool/lmipool/pool"
)

const (
	secretPassword = "hunter2_password"
	secretArgument = "hunter2_argument"
	secretTenant   = "hunter2_tenant"
	secretKeyPass  = "hunter2_keypassword"
	secretAWSKey   = "hunter2_awssecretkey"
	secretSession  = "hunter2_awssessiontoken"
	secretVariable = "hunter2_variable"
	secretResult   = "hunter2_result"
	endpoint       = "app.cluster-abc123.eu-west-1.rds.amazonaws.com"
)

// liveThrough has a pool, and what is around it, go through what there is to go through.
func liveThrough(t *testing.T) *life {
	t.Helper()
	l := &life{log: &everything{}, values: map[string]any{}, secrets: map[string]string{
		"the password": secretPassword, "an argument": secretArgument, "a tenant": secretTenant, "the key's password": secretKeyPass,
		"the AWS key": secretAWSKey, "the session token": secretSession, "a variable": secretVariable, "a result": secretResult,
	}}
	server, roots := passwordServer(t)
	certificate, key := l.clientKey(t, server.ca)
	query := url.Values{"sslmode": {"verify-ca"}, "sslcert": {certificate}, "sslkey": {key}, "sslpassword": {secretKeyPass}}
	dsn := "postgres://app:" + secretPassword + "@" + server.Addr() + "/postgres?" + query.Encode()
	config := &lmipool.Config{
		MaxConns: 4, RootCAs: roots, Logger: l.log.logger(), ReportIdleTxAfter: 20 * time.Millisecond, HealthCheckPeriod: 20 * time.Millisecond,
		ReportRowsAfter: 20 * time.Millisecond, CancelWait: 5 * time.Second,
		MaxPanics: 100, MaxOverruns: 100,
	}
	vars := with(managed("64"), "DATABASE_URL", dsn)
	db, err := lmipool.OpenIn(t.Context(), vars, "", config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Shutdown(quickly(t)) })
	require.NoError(t, db.Warm(bounded(t)))
	l.add("Config", config, "the Config's copy", *config, "Pool", db, "pool.Pool", db.Pool, "Env", db.Env(), "Stat", db.Stat(), "LaneStat", db.Stat().Lanes(), "CancelStat", db.Stat().Cancels(), "DialStat", db.Stat().Dials(), "FleetStat", db.Stat().Fleet(), "InvocationStat", db.Stat().Invocations(), "HandlerStat", db.HandlerStat(),
		"the chosen Config", db.Config(), "pool.Config", db.Pool.Config(), "RefusedError", lmipool.RefusedError("standing down"))
	l.work(t, db)
	l.invocations(t, db)
	l.configurations(t, dsn, vars)
	l.logins(t, dsn, server, roots)
	l.tokens(t, server, roots)
	l.rest(t)
	return l
}

// add adds values by their names.
func (l *life) add(nameAndValue ...any) {
	for i := 0; i < len(nameAndValue); i += 2 {
		l.values[nameAndValue[i].(string)] = nameAndValue[i+1]
	}
}

type tlsServer struct {
	*pgtest.Server
	ca *tlstest.CA
}

// passwordServer is a server with TLS, whose users app and token log in by password.
func passwordServer(t *testing.T) (tlsServer, []byte) {
	t.Helper()
	ca := tlstest.NewCA(t, "the authority")
	settings := tlstest.Settings(t, ca.Issue(t, nil, endpoint, "127.0.0.1"))
	settings["hba_file"] = tlstest.File(t, []byte("host all postgres all trust\nhostssl all all all password\n"))
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: settings})
	if err != nil && strings.Contains(err.Error(), "SSL is not supported by this build") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	admin, err := pgx.Connect(bounded(t), server.ConnString())
	require.NoError(t, err)
	defer admin.Close(context.Background())
	_, err = admin.Exec(bounded(t), "create role app login password '"+secretPassword+"'; create role token login password 'another'; grant all on schema public to app")
	require.NoError(t, err)
	return tlsServer{server, ca}, ca.PEM
}

// clientKey makes a certificate with an encrypted key, which is a secret too, and returns the files.
func (l *life) clientKey(t *testing.T, ca *tlstest.CA) (certificate, key string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: k.N, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	require.NoError(t, err)
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k), []byte(secretKeyPass), x509.PEMCipherAES256) //nolint:staticcheck // pgx's sslpassword takes no other
	require.NoError(t, err)
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(block), 0o600),
	))
	l.secrets["the TLS key"] = k.D.String()[:40]
	l.secrets["the TLS key's bytes"] = string(k.D.Bytes()[:24])
	l.secrets["the TLS key's words"] = fmt.Sprint(uint64(k.D.Bits()[0]))
	l.secrets["the TLS key's PEM"] = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))[200:240]
	return certificate, key
}

// work uses db in every way, with a secret argument.
func (l *life) work(t *testing.T, db *lmipool.Pool) {
	t.Helper()
	ctx := bounded(t)
	_, err := db.Exec(ctx, "create table work (v text)")
	require.NoError(t, err)
	const read = "select v, $2::text from work where v = $1 or true limit 1"
	_, err = db.Exec(ctx, "insert into work values ($1)", secretArgument)
	require.NoError(t, err)
	var g sync.WaitGroup
	rode := make(chan pgx.Rows, 32*10)
	for range 32 {
		g.Go(func() {
			for range 10 {
				r, err := db.Query(ctx, read, secretArgument, secretResult)
				if !assert.NoError(t, err) {
					return
				}
				if r.Conn() == nil && r.Next() {
					rode <- r
					continue
				}
				r.Close()
			}
		})
	}
	g.Wait()
	select {
	case r := <-rode:
		l.add("Rows of a lane", r)
	default:
		t.Log("none rode") // on a machine on which everything is slow
	}

	lease, err := db.Acquire(ctx)
	require.NoError(t, err)
	_, err = lease.Exec(ctx, "select $1::text", secretArgument)
	require.NoError(t, err)
	released, err := db.Acquire(ctx)
	require.NoError(t, err)
	released.Release()
	rows, err := lease.Query(ctx, read, secretArgument, secretResult)
	require.NoError(t, err)
	require.True(t, rows.Next())
	tx, err := db.Begin(ctx)
	require.NoError(t, err)
	row := tx.QueryRow(ctx, read, secretArgument, secretResult)
	b := &pgx.Batch{}
	b.Queue(read, secretArgument, secretResult)
	batch := tx.SendBatch(ctx, b)
	bound := db.With(map[string]string{"app.tenant": secretTenant})
	boundTx, err := bound.Begin(ctx)
	require.NoError(t, err)
	_, err = boundTx.Exec(ctx, "select $1::text", secretArgument)
	require.NoError(t, err)
	l.add("Lease", lease, "a released Lease", released, "Rows", rows, "Tx", tx, "Row", row, "Batch", batch, "Bound", bound, "the Bound's copy", *bound,
		"Bound of Bound", bound.With(map[string]string{"app.user": secretTenant}), "a wrong Bound", db.With(map[string]string{"no name": secretTenant}),
		"a Bound's Tx", boundTx, "a Bound's Row", bound.QueryRow(ctx, read, secretArgument, secretResult))
	for name, v := range l.values { // now, with all of it open
		l.look(t, name+" at work", v)
	}
	time.Sleep(50 * time.Millisecond) // longer than ReportIdleTxAfter
	rows.Close()
	_ = batch.Close()
	lease.Release()

	// What a statement's errors say.
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, stopped := db.Exec(short, "select pg_sleep(30), $1::text", secretArgument)
	_, stoppedBound := db.With(map[string]string{"app.tenant": secretTenant, "statement_timeout": "20ms"}).Exec(ctx, "select pg_sleep(30), $1::text", secretArgument)
	encode := func(mode ...any) error {
		_, err := db.Exec(ctx, "select $1::int, $2::text", append(mode, struct{ V string }{secretArgument}, "x")...)
		return err
	}
	_, encodeInTx := tx.Exec(ctx, "select $1::int", []string{secretArgument})
	_, encodeQuery := db.Query(ctx, "select $1::inet", struct{ V string }{secretArgument})
	encodeBatch := &pgx.Batch{}
	encodeBatch.Queue("select $1::int", struct{ V string }{secretArgument})
	_, encodeCopy := db.CopyFrom(ctx, pgx.Identifier{"work"}, []string{"v"}, pgx.CopyFromRows([][]any{{struct{ V string }{secretArgument}}}))
	_, settings := db.With(map[string]string{"app.tenant": secretTenant + "\x00"}).Exec(ctx, "select 1")
	_, refusedTenant := db.With(map[string]string{"role": "none", "TimeZone": "Nowhere"}).Exec(ctx, "select $1::text", secretArgument)
	inTx := pool.InTx(ctx, db, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "select 1/$1::int, $2::text", 0, secretArgument)
		return err
	})
	require.NoError(t, tx.Rollback(ctx))
	require.NoError(t, boundTx.Rollback(ctx))
	for name, err := range map[string]error{
		"stopped": stopped, "stopped, bound": stoppedBound, "encode": encode(), "encode, exec": encode(pgx.QueryExecModeExec), "encode in a Tx": encodeInTx,
		"encode a query": encodeQuery, "encode a Row": db.QueryRow(ctx, "select $1::int", struct{ V string }{secretArgument}).Scan(new(int)),
		"encode a batch": db.SendBatch(ctx, encodeBatch).Close(), "encode a copy": encodeCopy,
		"settings": settings, "refused settings": refusedTenant, "in a transaction": inTx,
		"TxOptions": pool.InTx(ctx, db, pool.TxOptions{MaxRetries: -1}, nil),
	} {
		if assert.Error(t, err, name) {
			l.values["error: "+name] = err
		}
	}

	// Without a connection.
	var all []*pool.Lease
	for range db.Stat().MaxConns() {
		lease, err := db.Acquire(ctx)
		require.NoError(t, err)
		_, err = lease.Exec(ctx, "select $1::text", secretArgument)
		require.NoError(t, err)
		all = append(all, lease)
	}
	short, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = db.Exec(short, "select $1::text", secretArgument)
	var acquire *pool.AcquireError
	require.ErrorAs(t, err, &acquire)
	l.add("AcquireError", acquire, "NoTimeError", &pool.NoTimeError{Waiting: 1}, "Holder", *acquire.Longest, "&Holder", acquire.Longest)
	for _, lease := range all {
		lease.Release()
	}
}

// invocations has handlers leave things behind, panic, and overrun.
func (l *life) invocations(t *testing.T, db *lmipool.Pool) {
	t.Helper()
	ctx := lambdacontext.NewContext(bounded(t), &lambdacontext.LambdaContext{AwsRequestID: "8f3a"})
	_, err := lmipool.Handler(db, func(ctx context.Context, secret string) (int, error) {
		lease, err := db.Acquire(ctx)
		require.NoError(t, err)
		_, err = lease.Exec(ctx, "select $1::text", secret)
		require.NoError(t, err)
		tx, err := db.With(map[string]string{"app.tenant": secretTenant}).Begin(ctx)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, "select $1::text", secret)
		return 0, err
	})(ctx, secretArgument)
	require.NoError(t, err)
	_, panicked := lmipool.Handler(db, func(ctx context.Context, secret string) (int, error) {
		return panicsWith(ctx, db, secret)
	})(ctx, secretArgument)
	late, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	returned := make(chan struct{})
	_, overrun := lmipool.Handler(db, func(_ context.Context, secret string) (string, error) {
		defer close(returned)
		time.Sleep(400 * time.Millisecond)
		return secret, nil
	})(late, secretArgument)
	<-returned
	inside := lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
		return db.QueryRow(ctx, "select $1::text", secretArgument).Scan(new(string))
	})
	require.NoError(t, inside)

	one := &pool.Config{MaxConns: 1, Logger: l.log.logger()}
	nestedDB, err := pool.New(ctx, pgtest.Database(t), one)
	require.NoError(t, err)
	nested := pool.InTx(ctx, nestedDB, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select $1::text", secretArgument); err != nil {
			return err
		}
		_, err := nestedDB.Exec(ctx, "select $1::text", secretArgument)
		return err
	})
	var nestedErr *pool.NestedAcquireError
	require.ErrorAs(t, nested, &nestedErr)
	lease, err := nestedDB.Acquire(ctx)
	require.NoError(t, err)
	_, err = lease.Exec(ctx, "select $1::text", secretArgument)
	require.NoError(t, err)
	shutdown := nestedDB.Shutdown(quickly(t))
	scoped, scope := db.OpenScope(ctx, "8f3b", time.Time{})
	held, err := db.Acquire(scoped)
	require.NoError(t, err)
	detached, cancel := lmipool.Detach(scoped, time.Second)
	defer cancel()
	l.add("panic", panicked, "overrun", overrun, "nested", nested, "NestedAcquireError", nestedErr, "shutdown", shutdown, "Scope", scope, "its ctx", scoped,
		"a lease of it", held, "a detached ctx", detached, "Alone", lmipool.Alone(scoped))
	scope.End()
	assert.Error(t, shutdown)
	assert.Error(t, panicked)
	assert.Error(t, overrun)
}

//go:noinline
func panicsWith(ctx context.Context, db *lmipool.Pool, secret string) (int, error) {
	if _, err := db.Exec(ctx, "select $1::text", secret); err != nil {
		return 0, err
	}
	panic(fmt.Sprintf("after %d bytes", len(secret)))
}

// configurations has New and Open refuse what they are given.
func (l *life) configurations(t *testing.T, dsn string, vars map[string]string) {
	t.Helper()
	app := "app:" + secretPassword
	for name, dsn := range map[string]string{
		"port": "postgres://" + app + "@h:port/db", "stray slash": "postgres://app:x/" + secretPassword + "@h/db", "stray": "postgres://" + app + "/x@h:5432/db",
		"escape": "postgres://" + app + "%zz@h/db", "bracket": "postgres://" + app + "@[h/db", "query": "postgres://h/db?password=" + secretPassword + "&x",
		"twice": "postgres://h/db?password=" + secretPassword + "=x", "keywords": "host=h password=" + secretPassword + " sslmode=maybe",
		"quote": "host=h password='" + secretPassword, "space": "host=h password=a " + secretPassword + " user=x", "no scheme": app + "@h/db",
		"other scheme": "mysql://" + app + "@h/db", "pool": dsn + "&pool_max_conns=x", "few": dsn + "&pool_max_conns=0", "key file": dsn + "&sslkey=/nowhere",
		"key's password": strings.Replace(dsn, secretKeyPass, secretKeyPass+"x", 1),
	} {
		_, byNew := pool.New(t.Context(), dsn, nil)
		_, byOpen := lmipool.OpenIn(t.Context(), nil, dsn, nil)
		_, byURL := lmipool.OpenIn(t.Context(), map[string]string{"DATABASE_URL": dsn}, "", nil)
		if assert.Error(t, byNew, name) {
			l.add("New: "+name, byNew, "Open: "+name, byOpen, "DATABASE_URL: "+name, byURL)
		}
		var parse *pgconn.ParseConfigError
		for _, err := range []error{byNew, byOpen} {
			if assert.ErrorAs(t, err, &parse, "as pgx's is") {
				assert.Empty(t, parse.ConnString, "pgx has the whole string there")
			}
		}
	}
	_, err := lmipool.OpenIn(t.Context(), with(vars, "LMIPOOL_MAX_CONNS", "many", "LMIPOOL_MAX_CONN", "3"), dsn,
		&lmipool.Config{MinConns: 3, Logger: l.log.logger(), Margin: -1})
	require.Error(t, err)
	delete(vars, "LMIPOOL_MAX_CONNS")
	delete(vars, "LMIPOOL_MAX_CONN")
	l.add("faults", err)
}

// logins has a login refused.
func (l *life) logins(t *testing.T, dsn string, server tlsServer, roots []byte) {
	t.Helper()
	wrong := strings.Replace(dsn, "app:", "token:", 1)
	stranger := tlstest.NewCA(t, "another authority")
	for name, c := range map[string]struct {
		dsn    string
		config pool.Config
	}{
		"wrong password": {dsn: wrong}, "no database": {dsn: strings.Replace(dsn, "/postgres?", "/none?", 1)},
		"nobody vouches": {dsn: dsn, config: pool.Config{RootCAs: stranger.PEM}}, "nobody is there": {dsn: strings.Replace(dsn, server.Addr(), "127.0.0.1:1", 1)},
		"another password":   {dsn: wrong, config: pool.Config{BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error { cc.Password += "x"; return nil }}},
		"a hook that panics": {dsn: dsn, config: pool.Config{BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error { panic("after " + cc.User) }}},
		"a hook":             {dsn: dsn, config: pool.Config{AfterConnect: func(context.Context, *pgx.Conn) error { return errors.New("mine") }}},
		"a panic afterwards": {dsn: dsn, config: pool.Config{AfterConnect: func(_ context.Context, c *pgx.Conn) error { panic("in the middle") }}},
	} {
		c.config.Logger = l.log.logger()
		if c.config.RootCAs == nil {
			c.config.RootCAs = roots
		}
		p, err := pool.New(t.Context(), c.dsn, &c.config)
		require.NoError(t, err)
		err = p.Ping(bounded(t))
		p.Close()
		if assert.Error(t, err, name) {
			l.add("login: "+name, err)
		}
		var ce *pgconn.ConnectError
		if errors.As(err, &ce) {
			l.add("login, its configuration: "+name, ce.Config)
		}
	}
}

// tokens has one taken, one refused, and one that cannot be had.
func (l *life) tokens(t *testing.T, server tlsServer, roots []byte) {
	t.Helper()
	keys := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: secretAWSKey, SessionToken: secretSession, Source: "the test"}
	config := &iam.Config{Logger: l.log.logger(), Region: "eu-west-1"}
	source := iam.New(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }), config)
	token, err := source.Token(bounded(t), endpoint, 5432, "token")
	require.NoError(t, err)
	_, signature, _ := strings.Cut(token, "X-Amz-Signature=")
	require.Len(t, signature, 64)
	l.secrets["the token"] = signature
	p, err := pool.New(t.Context(), "postgres://token@"+endpoint+"/postgres", &pool.Config{
		RootCAs: roots, Logger: l.log.logger(),
		BeforeConnect: func(ctx context.Context, cc *pgx.ConnConfig) error {
			dial := cc.DialFunc
			cc.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
			cc.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dial(ctx, network, server.Addr())
			}
			return source.BeforeConnect(ctx, cc)
		},
	})
	require.NoError(t, err)
	refused := p.Ping(bounded(t))
	p.Close()
	require.ErrorContains(t, refused, "28P01")
	none := iam.New(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return keys, errors.New("denied")
	}), nil)
	_, denied := none.Token(bounded(t), endpoint, 5432, "token")
	panicking := iam.New(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { panic("no") }), config)
	_, panicked := panicking.Token(bounded(t), endpoint, 5432, "token")
	wrong := iam.New(nil, &iam.Config{Endpoint: "postgres://app:" + secretPassword + "@h/db", Region: "a b"})
	_, fault := wrong.Token(bounded(t), endpoint, 5432, "token")
	for name, err := range map[string]error{"refused": refused, "denied": denied, "panicked": panicked, "fault": fault} {
		require.Error(t, err)
		l.add("token: "+name, err)
	}
	assert.Contains(t, fault.Error(), "Config.Endpoint")
	l.add("Source", source, "a wrong Source", wrong, "iam.Config", config, "its copy", *config)
}

// rest is what has no secrets, and what could have them all the same.
func (l *life) rest(t *testing.T) {
	t.Helper()
	config := lmitest.Config{Command: []string{os.Args[0]}, Kind: lambdaenv.OnDemand, Env: []string{"DATABASE_URL=postgres://app:" + secretVariable + "@h/db"}}
	f, err := lmitest.Start(bounded(t), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Shutdown(context.Background()) })
	config.Concurrency = -1
	_, wrong := lmitest.Start(bounded(t), config)
	require.Error(t, wrong)
	_, variable := lambdaenv.DetectFunc(func(name string) (string, bool) {
		return map[string]string{"AWS_LAMBDA_MAX_CONCURRENCY": "many"}[name], name == "AWS_LAMBDA_MAX_CONCURRENCY"
	})
	var variableErr *lambdaenv.VariableError
	require.ErrorAs(t, variable, &variableErr)
	results := lmitest.Call(bounded(t), lmitest.CallOptions{}, func(context.Context, string) (int, error) { panic("no") }, []string{secretArgument})
	var panicErr *lmitest.PanicError
	require.ErrorAs(t, results[0].Err, &panicErr)
	l.add("lmitest.Config", config, "&lmitest.Config", &config, "Function", f, "a wrong Config", wrong, "Stats", f.Stats(), "Exit", f.Stats().LastExit,
		"CallOptions", lmitest.CallOptions{}, "Result", results[0], "PanicError", panicErr, "Reply", &lmitest.Reply{}, "FunctionError", &lmitest.FunctionError{},
		"InitError", &lmitest.InitError{}, "Environ", config.Env, "lambdaenv.Env", lambdaenv.Env{}, "Kind", lambdaenv.OnDemand, "VariableError", variableErr, "its join", variable,
		"OverrunError", &lmipool.OverrunError{}, "GoexitError", &lmipool.GoexitError{}, "StreamCutError", &lmipool.StreamCutError{}, "DeadlinePassedError", &lmipool.DeadlinePassedError{}, "Switch", pool.On,
		"Upstream", pool.UpstreamDirect, "TxOptions", pool.TxOptions{}, "PlanInput", lmipool.PlanInput{}, "PlanResult", lmipool.PlanResult{}, "ErrClosed", pool.ErrClosed,
		"ShutdownError", &pool.ShutdownError{Err: context.DeadlineExceeded})
}

// quickly is a ctx for a Shutdown that is not to wait.
func quickly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
