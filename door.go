package lmipool

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// mostLayers is how many wrappers the function inside looks through. Without a bound it would never end if an Unwrap returns its own receiver.
const mostLayers = 100

// inside finds the lmipool pool that db is, or wraps, and returns its scopes and its bulkhead. A pool.Pool that is not from Open has scopes and no
// bulkhead; any other pool has neither. inside panics if the pool is nil: that is a mistake in main, and errors of invocations would show it only
// later.
func inside(who string, db DB) (scopes scoper, b *bulkhead) {
	of := db
	for range mostLayers {
		if isNil(of) {
			panic(fmt.Sprintf("lmipool: %s: the pool is nil (%s): look at Open's error before its result is used", who, typeName(db)))
		}
		if s, ok := of.(scoper); ok && scopes == nil {
			scopes = s
		}
		if own, ok := of.(bulkheaded); ok {
			p := own.opened()
			if p == nil || p.Pool == nil {
				panic(fmt.Sprintf("lmipool: %s: the pool is nil, or not from Open (%s)", who, typeName(db)))
			}
			return p.Pool, p.bulkhead
		}
		inner, found := unwrapped(of)
		if !found {
			break
		}
		of = inner
	}
	return scopes, nil
}

// unwrapped returns the DB that db wraps. It finds a DB that db's method Unwrap returns, or that is an embedded field of db.
func unwrapped(db DB) (inner DB, found bool) {
	switch w := db.(type) {
	case interface{ Unwrap() DB }:
		return w.Unwrap(), true
	case interface{ Unwrap() *Pool }:
		return w.Unwrap(), true
	case interface{ Unwrap() *pool.Pool }:
		return w.Unwrap(), true
	}
	return embedded(reflect.ValueOf(db))
}

// embedded returns the DB that the struct v, or the struct that v points to, embeds, if reflection can read the field.
func embedded(v reflect.Value) (inner DB, found bool) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		switch {
		case !field.Anonymous || !field.Type.Implements(reflect.TypeFor[DB]()):
		case value.CanInterface():
			inner, _ = reflect.TypeAssert[DB](value)
			return inner, true
		default: // the field is unexported, because its type's name is; only what that type embeds can be read
			if inner, found = embedded(value); found {
				return inner, true
			}
		}
	}
	return nil, false
}

// isNil reports whether db is nil, or a nil pointer to a pool of lmipool's or pgxpool's, or to a type that embeds or unwraps to such a pool. It
// returns false for a nil pointer of any other type, which may be a mock that works.
func isNil(db any) bool {
	if db == nil {
		return true
	}
	v := reflect.ValueOf(db)
	if v.Kind() != reflect.Pointer || !v.IsNil() {
		return false
	}
	switch db.(type) {
	case scoper, *pgxpool.Pool, interface{ Unwrap() DB }, interface{ Unwrap() *Pool }, interface{ Unwrap() *pool.Pool }:
		return true
	}
	return false
}

func typeName(v any) string {
	if v == nil {
		return "nil"
	}
	return fmt.Sprintf("%T", v)
}

// mustBe panics if fn, an argument of the function who, is nil.
func mustBe(who string, fn any) {
	if v := reflect.ValueOf(fn); !v.IsValid() || v.Kind() == reflect.Func && v.IsNil() {
		panic(fmt.Sprintf("lmipool: %s: the handler is nil (%s)", who, typeName(fn)))
	}
}

// warned has the types about which warnUnprotected has warned. Without it a program that calls Handler in each invocation would log a warning each
// time.
var warned sync.Map

// warnUnprotected logs, once for each type of db, which protections Handler cannot give with a DB that is not from Open. It does so on managed
// instances only, where one bad invocation can end all others of its process.
func warnUnprotected(db DB, scopes scoper, log *slog.Logger) {
	env, _ := lambdaenv.Detect()
	if env.Kind != lambdaenv.ManagedInstances {
		return
	}
	name := typeName(db)
	if _, again := warned.LoadOrStore(name, true); again {
		return
	}
	off := "a late reply or a panic ends the process"
	if scopes == nil {
		off += ", and what an invocation forgets stays out"
	}
	safelog.Guard(log).Warn("lmipool: Handler protects nothing with this type of pool: "+off+
		"; give it what Open returned, a type that embeds that, or one with the method Unwrap() lmipool.DB",
		slog.String("type", name))
}

// scoper has a method that only lmipool's pools have.
type scoper interface {
	OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *pool.Scope)
}

// bulkheaded has a method that a Pool from Open has and a pool.Pool has not.
type bulkheaded interface{ opened() *Pool }

func (p *Pool) opened() *Pool { return p }
