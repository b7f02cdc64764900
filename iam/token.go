package iam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"github.com/lmipool/lmipool/internal/gostack"
)

const (
	lifetime     = 15 * time.Minute // how long a token is valid: the SDK's value, and the most that RDS allows
	refreshAfter = 10 * time.Minute // leaves 5 minutes to get new credentials
	slack        = 30 * time.Second // how long a token must still be valid when a dial begins
	retryAfter   = 10 * time.Second // the pause between tries to replace a token that is still valid
	renewEvery   = 30 * time.Second // if a token that replaced a refused one is refused within this time, it is not replaced
)

// token is one signed token. Only its flags change; Source.mu guards them.
type token struct {
	id     identity
	value  func() string // a func, since fmt and loggers print only the address of a func
	signed time.Time
	ends   time.Time // when its 15 minutes or its credentials end, whichever is first
	source string    // where the credentials came from, in the SDK's words

	refused bool // the server refused the token, so it is not handed out again
	renewed bool // the token was signed because another token was refused
}

// entry has the tokens of one identity. Source.mu guards it.
type entry struct {
	token  *token    // the newest; nil before the first
	flight *flight   // the signing that runs now, or nil
	next   time.Time // when the next refresh may begin
}

// flight is the signing of one token. All callers that need the token wait for the same flight.
type flight struct {
	ctx   context.Context // ends after Config.Timeout
	done  chan struct{}
	token *token
	err   error
}

// good reports whether t may be handed out. If t's credentials end soon, t is used for at least half of its lifetime, since another token would end
// just as early.
func (t *token) good(now time.Time) bool {
	if t == nil || t.refused {
		return false
	}
	life, age := t.ends.Sub(t.signed), age(t.signed, now)
	return age >= 0 && age < life-min(slack, life/2)
}

// stale reports whether a good t should be replaced now, early enough to have the next token before t ends.
func (t *token) stale(now time.Time) bool { return age(t.signed, now) >= refreshAfter }

// age returns the time from since to now, as the greater of two clocks: the monotonic clock may stand still while a process is frozen, and the wall
// clock may be set. It is negative if the wall clock was set back.
func age(since, now time.Time) time.Duration {
	wall := now.Round(0).Sub(since.Round(0))
	if wall < 0 {
		return wall
	}
	return max(wall, now.Sub(since))
}

// token returns a good token for id. A stale token is handed out while its successor is being signed, so that dials wait only if there is no token.
func (s *Source) token(ctx context.Context, id identity) (*token, error) {
	now := time.Now()
	s.mu.Lock()
	e := s.tokens[id]
	if e == nil {
		e = &entry{}
		s.tokens[id] = e
	}
	t := e.token
	good := t.good(now)
	if good && (!t.stale(now) || now.Before(e.next)) {
		s.mu.Unlock()
		return t, nil
	}
	f := e.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		var cancel context.CancelFunc
		// The end of the caller's ctx must not stop the signing, since others may wait for the same token.
		f.ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
		e.flight = f
		renewed := t != nil && t.refused
		go func() {
			defer cancel()
			s.fly(id, e, f, renewed)
		}()
	}
	s.mu.Unlock()
	if good {
		return t, nil
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, temporaryf("lmipool: iam: waiting for a token for %s: %w", id, context.Cause(ctx))
	case <-f.ctx.Done():
	}
	// A provider that watches its ctx returns now, with a better error. A provider that does not keeps its goroutine, at most one for each identity,
	// but no caller waits for it any more.
	select {
	case <-f.done:
		return f.token, f.err
	case <-time.After(100 * time.Millisecond):
		return nil, temporaryf("lmipool: iam: no credentials within %s for a token for %s", s.cfg.Timeout, id)
	}
}

// fly signs the token that f's callers wait for. fly ends when the provider returns. The provider's ctx ends after Config.Timeout.
func (s *Source) fly(id identity, e *entry, f *flight, renewed bool) {
	var t *token
	var err error
	defer func() {
		if v := recover(); v != nil { // a provider's panic would end the process
			err = fmt.Errorf("lmipool: iam: the credentials provider panicked: %v", v)
			s.cfg.Logger.Error("lmipool: iam: the credentials provider panicked", "panic", fmt.Sprint(v), "stack", gostack.Panicked())
		}
		s.mu.Lock()
		old := e.token
		if err == nil {
			t.renewed = renewed
			e.token = t
		}
		e.flight = nil
		e.next = time.Now().Add(retryAfter)
		stillGood := old.good(time.Now())
		s.mu.Unlock()
		f.token, f.err = t, err
		close(f.done)
		if err != nil && stillGood { // the old token is used, so no caller gets this error
			s.cfg.Logger.Warn("lmipool: iam: no new token; the old one is good until it ends", "error", err, "ends", old.ends)
		}
	}()
	if renewed && s.drop != nil {
		s.drop()
	}
	t, err = s.sign(f.ctx, id)
}

// sign signs a token with the credentials that the provider returns now.
func sign(ctx context.Context, credentials aws.CredentialsProvider, id identity) (*token, error) {
	c, err := credentials.Retrieve(ctx)
	if err != nil {
		return nil, ofProvider(fmt.Errorf("lmipool: iam: credentials for %s: %w", id, err), err)
	}
	if !c.HasKeys() {
		return nil, misconfiguredf("lmipool: iam: credentials for %s: the provider has no keys; on Lambda they are in the environment", id)
	}
	endpoint := net.JoinHostPort(id.host, strconv.Itoa(int(id.port)))
	fixed := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
	signed := time.Now()
	value, err := auth.BuildAuthToken(ctx, endpoint, id.region, id.user, fixed)
	if err != nil {
		return nil, misconfiguredf("lmipool: iam: signing a token for %s: %w", id, err)
	}
	if value == "" {
		return nil, errors.New("lmipool: iam: the signer returned nothing")
	}
	t := &token{id: id, value: func() string { return value }, signed: signed, ends: signed.Add(lifetime), source: c.Source}
	if c.CanExpire && c.Expires.Before(t.ends) {
		t.ends = c.Expires
	}
	return t, nil
}
