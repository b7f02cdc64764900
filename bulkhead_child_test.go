package lmipool_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/pool"
)

// task tells the child what to do, and N is its answer.
type task struct {
	Do       string
	N        int
	Hold     string        // what to hold meanwhile
	For      time.Duration // how long to do it
	Together int           // begin when that many are there
}

type outcome struct {
	N                             int
	Acquired, Total, Idle, Queued int32
	Handlers                      lmipool.HandlerStat
	Lateness                      time.Duration // Handlers' own, which its JSON has in seconds
	// What handlers got that used the pool after they had been answered for.
	Ended, NotEnded int64
}

// bulkheadChild is a process whose handlers misbehave.
type bulkheadChild struct {
	db              *lmipool.Pool
	ended, notEnded atomic.Int64
	gate            gate
}

func startBulkhead(db *lmipool.Pool) {
	c := &bulkheadChild{db: db}
	lambda.Start(lmipool.Handler(db, c.handle))
}

// gate lets a number of invocations begin together.
type gate struct {
	mu   sync.Mutex
	n    int
	open chan struct{}
}

func (g *gate) pass(n int) {
	if n == 0 {
		return
	}
	g.mu.Lock()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	open := g.open
	if g.n++; g.n == n {
		g.n, g.open = 0, nil
		close(open)
	}
	g.mu.Unlock()
	<-open
}

func (c *bulkheadChild) handle(ctx context.Context, t task) (outcome, error) {
	c.gate.pass(t.Together)
	switch t.Do {
	case "answer":
		return c.answer(ctx, t)
	case "overrun":
		c.overrun(ctx, t)
	case "panic":
		misbehave(t.Hold)
	case "state":
		s, handlers := c.db.Stat(), c.db.HandlerStat()
		return outcome{
			Acquired: s.AcquiredConns(), Total: s.TotalConns(), Idle: s.IdleConns(), Queued: s.Queued(),
			Handlers: handlers, Lateness: handlers.Lateness, Ended: c.ended.Load(), NotEnded: c.notEnded.Load(),
		}, nil
	}
	return outcome{N: t.N}, nil
}

// answer computes 2N in the database for a while.
func (c *bulkheadChild) answer(ctx context.Context, t task) (o outcome, err error) {
	for end := time.Now().Add(t.For); ; time.Sleep(20 * time.Millisecond) {
		if err := c.db.QueryRow(ctx, "select 2 * $1::int", t.N).Scan(&o.N); err != nil || time.Now().After(end) {
			return o, err
		}
	}
}

// overrun ignores its ctx for t.For and holds something meanwhile. Then it uses it.
func (c *bulkheadChild) overrun(ctx context.Context, t task) {
	until := time.Now().Add(t.For)
	free := context.WithoutCancel(ctx)
	var use func() error
	switch t.Hold {
	case "lease":
		l, err := c.db.Acquire(ctx)
		use = func() error { return errors.Join(err, l.Ping(free)) }
	case "transaction":
		tx, err := c.db.Begin(ctx)
		use = func() error { return errors.Join(err, tx.Commit(free)) }
	case "rows":
		rows, err := c.db.Query(ctx, "select generate_series(1, 100000)")
		use = func() error {
			for rows.Next() {
			}
			return errors.Join(err, rows.Err())
		}
	case "conn":
		l, err := c.db.Acquire(ctx)
		raw := l.Conn()
		use = func() error {
			if raw.Ping(free) == nil {
				return errors.New("the raw connection works")
			}
			return errors.Join(err, l.Ping(free))
		}
	case "statement":
		c.db.Exec(free, "select pg_sleep($1)", (t.For + 2*time.Second).Seconds())
	}
	time.Sleep(time.Until(until))
	_, err := c.db.Exec(free, "select 1")
	c.count(err)
	if use != nil {
		c.count(use())
	}
}

func (c *bulkheadChild) count(err error) {
	if errors.Is(err, pool.ErrInvocationEnded) {
		c.ended.Add(1)
	} else {
		c.notEnded.Add(1)
		fmt.Println("a handler that was answered for got", err)
	}
}

type boom struct{ Code int }

type boomError struct{ Code int }

func (e *boomError) Error() string { return fmt.Sprint("boom ", e.Code) }

// panics are the kinds of them.
var panics = []string{"string", "error", "nil map", "custom type", "pointer", "nil pointer", "index", "nested", "reply", "reply with a stack"}

// misbehave does not return.
//
//go:noinline
func misbehave(how string) {
	switch how {
	case "string":
		panic("boom")
	case "error":
		panic(errors.New("boom"))
	case "nil map":
		var m map[string]int
		m["boom"] = 1 //nolint:staticcheck // the panic is what is tested
	case "custom type":
		panic(boom{7})
	case "pointer":
		panic(&boomError{7})
	case "nil pointer":
		var b *boom
		b.Code = 1
	case "index":
		var none []int
		_ = none[len(how)]
	case "nested":
		func() { defer func() { panic(boom{8}) }(); panic("first") }()
	case "reply":
		panic(messages.InvokeResponse_Error{Message: "no such order", Type: "NotFound"})
	case "reply with a stack":
		panic(messages.InvokeResponse_Error{Message: "mine", Type: "Mine", StackTrace: []*messages.InvokeResponse_Error_StackFrame{{Path: "a.go", Line: 1, Label: "f"}}})
	case "reply and exit":
		panic(messages.InvokeResponse_Error{Message: "the end", Type: "Fatal", ShouldExit: true})
	case "goexit":
		runtime.Goexit()
	}
	panic("no such panic: " + how)
}

// startBare is the same handler without lmipool.
func startBare() {
	c := &bulkheadChild{}
	lambda.Start(c.handle)
}
