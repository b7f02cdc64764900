package lmipool

import (
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// Bound is a [pool.Bound] that knows its [Pool], so that [Handler] does.
type Bound struct {
	*pool.Bound
	of *Pool
}

// With returns the pool bound to settings: [pool.Pool.With], which says more.
func (p *Pool) With(settings map[string]string) *Bound {
	return &Bound{p.Pool.With(settings), p}
}

// With returns b bound to settings too. They win over b's of the same name.
func (b *Bound) With(settings map[string]string) *Bound {
	return &Bound{b.Bound.With(settings), b.of}
}

// Unwrap returns the pool that b is bound to settings of.
func (b *Bound) Unwrap() DB { return b.of }

// mostLayers bounds the way from a DB to the pool inside it: an Unwrap may return itself.
const mostLayers = 100

// inside returns what of db is lmipool's: db itself, or what it wraps. Of a pool.Pool that
// nobody opened with Open there is no bulkhead, of somebody else's neither. It panics if
// there is no pool at all: whoever starts with that is not helped by an error for each
// invocation.
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

// unwrapped is the DB that db wraps and shows: by Unwrap, or as an embedded field.
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

// embedded is the DB that v embeds, if v is a struct and the field can be read.
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
		default: // the type's name is private, and so is the field: only what it embeds can be read
			if inner, found = embedded(value); found {
				return inner, true
			}
		}
	}
	return nil, false
}

// isNil reports whether db is nil, or a nil pointer to something that is lmipool's or
// pgxpool's, embeds it, or unwraps to it. Any other nil pointer may be a mock that works.
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

// mustBe panics if fn, which was given to who, is nil.
func mustBe(who string, fn any) {
	if v := reflect.ValueOf(fn); !v.IsValid() || v.Kind() == reflect.Func && v.IsNil() {
		panic(fmt.Sprintf("lmipool: %s: the handler is nil (%s)", who, typeName(fn)))
	}
}

// warned has the types for which warnUnprotected has warned: Handler may be called in one
// invocation after the other.
var warned sync.Map

// warnUnprotected says, once for each type, what Handler does not do with a DB that is not
// from Open. On managed instances all invocations of the process pay for that.
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
