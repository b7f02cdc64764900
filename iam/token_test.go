package iam_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/iam"
)

// connect dials once, as pgxpool does.
func connect(t *testing.T, s *iam.Source, c *pgx.ConnConfig) error {
	t.Helper()
	c = c.Copy()
	if err := s.BeforeConnect(t.Context(), c); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err == nil {
		conn.Close(t.Context())
	}
	return err
}

func TestAThousandDialsShareOneTokenAtATime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at       int           // at once
		every    time.Duration // between them, a hundred times
		lives    time.Duration // how long the role's credentials do
		signings int
	}{
		"now and then":                   {10, 3 * time.Minute, time.Hour, 25},         // 5 hours, a token each 12 minutes
		"often":                          {2, 30 * time.Second, time.Hour, 5},          // 50 minutes
		"after the credentials' end":     {2, 61 * time.Minute, 45 * time.Minute, 100}, // nothing to reuse but by the other
		"with credentials that end soon": {2, time.Minute, 7 * time.Minute, 15},        // 100 minutes
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStandIn(t, writer)
				began := time.Now()
				inner := &role{retrieve: func(context.Context) (aws.Credentials, error) {
					life := time.Since(began) / c.lives
					return s.accept(expiring(key(fmt.Sprint(int(life))), began.Add((life+1)*c.lives))), nil
				}}
				cache := aws.NewCredentialsCache(inner)
				outer := &role{retrieve: cache.Retrieve}
				source, config := iam.New(outer, nil), s.config(t, "user=app host="+writer)
				for range 100 {
					var wg sync.WaitGroup
					for range c.at {
						wg.Go(func() { assert.NoError(t, connect(t, source, config)) })
					}
					wg.Wait()
					time.Sleep(c.every)
				}
				logins, tokens, refused := s.counts()
				t.Logf("%d logins, %d refused, %d signings, %d tokens used, credentials fetched %d times", logins, refused, outer.count(), tokens, inner.count())
				assert.Equal(t, 100*c.at, logins)
				assert.Zero(t, refused)
				assert.Equal(t, c.signings, outer.count())
				assert.InDelta(t, outer.count(), tokens, 1, "each token is used, but perhaps the last")
			})
		})
	}
}

// inBubble runs f in virtual time, with a role that has key 1, which the stand-in knows.
func inBubble(t *testing.T, f func(t *testing.T, s *standIn, r *role, log *logs, source *iam.Source)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, log := newStandIn(t, writer, reader), &logs{}
		r := roleWith(s.accept(key("1")))
		f(t, s, r, log, iam.New(r, &iam.Config{Logger: log.logger()}))
	})
}

func TestThoseWhoComeTogetherShareOneSigning(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *standIn, r *role, _ *logs, source *iam.Source) {
		open := make(chan struct{})
		r.retrieve = func(ctx context.Context) (aws.Credentials, error) {
			select {
			case <-open:
				return key("1"), nil
			case <-ctx.Done():
				return aws.Credentials{}, ctx.Err()
			}
		}
		tokens := make(map[string]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancelCause(t.Context())
		wg.Go(func() { // the one for whom it was begun leaves
			_, err := source.Token(ctx, writer, 5432, "app")
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 1000 {
			wg.Go(func() {
				token, err := source.Token(t.Context(), writer, 5432, "app")
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				tokens[token]++
			})
		}
		synctest.Wait()
		cancel(context.Canceled)
		synctest.Wait()
		close(open)
		wg.Wait()
		assert.Len(t, tokens, 1)
		assert.Equal(t, 1, r.count())
		for _, other := range []func() (string, error){
			func() (string, error) { return source.Token(t.Context(), reader, 5432, "app") },
			func() (string, error) { return source.Token(t.Context(), writer, 5433, "app") },
			func() (string, error) { return source.Token(t.Context(), writer, 5432, "other") },
		} {
			token, err := other()
			assert.NoError(t, err)
			assert.NotContains(t, tokens, token)
			tokens[token]++
		}
		assert.Equal(t, 4, r.count(), "one for each host, port and user")
	})
}

func TestAnOutageOfTheCredentialsIsOutlivedWhileTheTokenIsGood(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *standIn, r *role, log *logs, source *iam.Source) {
		c := s.config(t, "user=app host="+writer)
		assert.NoError(t, connect(t, source, c))
		r.becomes(aws.Credentials{}, assert.AnError)
		for range 12 {
			time.Sleep(time.Minute)
			assert.NoError(t, connect(t, source, c))
			synctest.Wait()
		}
		assert.Equal(t, 4, r.count(), "at 10, 11 and 12 minutes")
		assert.Len(t, log.all(), 3)
		assert.Contains(t, log.all()[0], "no new token; the old one is good until it ends")
		for range 5 { // a burst asks once in ten seconds
			assert.NoError(t, connect(t, source, c))
		}
		assert.Equal(t, 4, r.count())
		time.Sleep(2*time.Minute + 30*time.Second)
		err := connect(t, source, c)
		assert.ErrorIs(t, err, assert.AnError)
		assert.ErrorContains(t, err, "lmipool: iam: credentials for app at "+writer+":5432 in eu-west-1: ")
		r.becomes(key("1"), nil)
		assert.NoError(t, connect(t, source, c))
	})
}

func TestNobodyWaitsLongerThanTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *standIn, r *role, _ *logs, source *iam.Source) {
		hang := make(chan struct{})
		r.retrieve = func(context.Context) (aws.Credentials, error) { <-hang; return key("1"), nil } // heeds no ctx
		began := time.Now()
		for range 3 {
			_, err := source.Token(context.Background(), writer, 5432, "app")
			assert.EqualError(t, err, "lmipool: iam: no credentials within 5s for a token for app at "+writer+":5432 in eu-west-1")
		}
		assert.Less(t, time.Since(began), 6*time.Second)
		assert.Equal(t, 1, r.count(), "and no goroutines pile up")
		close(hang)
		synctest.Wait()
		_, err := source.Token(t.Context(), writer, 5432, "app")
		assert.NoError(t, err)

		r.retrieve = func(ctx context.Context) (aws.Credentials, error) { <-ctx.Done(); return aws.Credentials{}, ctx.Err() }
		_, err = source.Token(t.Context(), reader, 5432, "app")
		assert.ErrorIs(t, err, context.DeadlineExceeded)

		r.retrieve = func(context.Context) (aws.Credentials, error) { panic("a bug") }
		_, err = source.Token(t.Context(), reader, 5432, "app")
		assert.EqualError(t, err, "lmipool: iam: the credentials provider panicked: a bug")
	})
}

func TestATokenOfAClockThatWasSetBackIsNotUsed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		since, now time.Time
		want       time.Duration
	}{
		{now, now.Add(time.Minute), time.Minute},
		{now.Round(0), now.Add(time.Minute), time.Minute},
		{now, now.Add(-time.Minute).Round(0), -time.Minute},
	} {
		assert.Equal(t, c.want, iam.Age(c.since, c.now))
	}
}
