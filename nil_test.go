package lmipool_test

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/emf"
	"github.com/lmipool/lmipool/iam"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
	"github.com/lmipool/lmipool/pool"
)

// zeros has a nil pointer to each type whose methods a user can call on a value that is not there, or is not from a constructor.
var zeros = map[string][]any{
	".":         {(*lmipool.Pool)(nil), (*lmipool.Bound)(nil), (*lmipool.Config)(nil), (*lmipool.HandlerStat)(nil), (*lmipool.DurationStat)(nil), (*lmipool.PlanInput)(nil), (*lmipool.PlanResult)(nil)},
	"pool":      {(*pool.Pool)(nil), (*pool.Bound)(nil), (*pool.Lease)(nil), (*pool.Scope)(nil), (*pool.Stat)(nil), (*pool.Holder)(nil), (*pool.LaneStat)(nil), (*pool.Config)(nil), (*pool.TxOptions)(nil), (*pool.CancelStat)(nil), (*pool.DialStat)(nil), (*pool.FleetStat)(nil), (*pool.InvocationStat)(nil), (*pool.Switch)(nil), (*pool.Upstream)(nil)},
	"iam":       {(*iam.Source)(nil), (*iam.Config)(nil)},
	"emf":       {(*emf.Metrics)(nil), (*emf.Options)(nil)},
	"lmitest":   {(*lmitest.Function)(nil), (*lmitest.Checker)(nil), (*lmitest.Config)(nil), (*lmitest.Environ)(nil), (*lmitest.CallOptions)(nil), (*lmitest.Result[int])(nil), (*lmitest.Reply)(nil), (*lmitest.Stats)(nil), (*lmitest.Exit)(nil)},
	"lambdaenv": {(*lambdaenv.Env)(nil), (*lambdaenv.Kind)(nil)},
}

// neverNil are types of which nobody is given a nil pointer, not even beside an error.
var neverNil = map[reflect.Type]bool{
	reflect.TypeFor[*pool.Stat](): true, reflect.TypeFor[*pool.LaneStat](): true, reflect.TypeFor[*lambdaenv.Env](): true,
}

// TestNilIsNoBareDereference calls each method of each type on nil and on the zero value.
func TestNilIsNoBareDereference(t *testing.T) {
	t.Parallel()
	for _, values := range zeros {
		for _, null := range values {
			v := reflect.ValueOf(null)
			if !neverNil[v.Type()] {
				each(t, "nil", v)
			}
			each(t, "zero", reflect.New(v.Type().Elem()))
		}
	}
}

// TestNilArgumentsOfAPoolThatWorks calls each method of what a user gets from a pool.
func TestNilArgumentsOfAPoolThatWorks(t *testing.T) {
	t.Parallel()
	db, err := lmipool.Open(t.Context(), pgtest.Database(t), &lmipool.Config{MaxConns: 4})
	require.NoError(t, err)
	defer db.Close()
	lease := func() *lmipool.Lease {
		l, err := db.Acquire(bounded(t))
		require.NoError(t, err)
		return l
	}
	tx := func() pgx.Tx {
		tx, err := db.Begin(bounded(t))
		require.NoError(t, err)
		return tx
	}
	for what, f := range map[string]func() (any, func()){
		"the pool": func() (any, func()) { return db, func() {} },
		"its own":  func() (any, func()) { return db.Pool, func() {} },
		"a Bound":  func() (any, func()) { return db.With(map[string]string{"app.t": "1"}), func() {} },
		"no Bound": func() (any, func()) { return db.With(nil), func() {} },
		"a lease":  func() (any, func()) { l := lease(); return l, l.Release },
		"a tx":     func() (any, func()) { x := tx(); return x, func() { _ = x.Rollback(bounded(t)) } },
		"rows":     func() (any, func()) { r, _ := db.Query(bounded(t), "select 1"); r.Next(); return r, r.Close },
		"a batch":  func() (any, func()) { b := db.SendBatch(bounded(t), &pgx.Batch{}); return b, func() { _ = b.Close() } },
		"Rows of a tx": func() (any, func()) {
			x := tx()
			r, _ := x.Query(bounded(t), "select 1")
			r.Next()
			return r, func() { r.Close(); _ = x.Rollback(bounded(t)) }
		},
	} {
		made, done := f()
		type_ := reflect.TypeOf(made)
		done()
		for i := range type_.NumMethod() {
			switch type_.Method(i).Name {
			case "Close", "Shutdown", "Format": // they end the pool, or are fmt's
				continue
			}
			made, done := f()
			method(t, what, reflect.ValueOf(made), i)
			done()
		}
	}
}

// each calls each method of v with arguments of which one is nil at a time.
func each(t *testing.T, what string, v reflect.Value) {
	t.Helper()
	for i := range v.NumMethod() {
		switch n := v.Type().Method(i).Name; {
		case strings.HasPrefix(n, "Observe"): // the pool calls them, and Open refuses a nil observer
			continue
		case n == "Format", n == "String", n == "MarshalJSON": // fmt shows nil as <nil>
			_ = fmt.Sprint(v)
			continue
		case n == "ForPool" || n == "ServeHTTP" || n == "Take": // a test's, and what net/http and the page itself call
			continue
		}
		method(t, what, v, i)
	}
}

// method calls v's method i with all arguments, and then with each one nil.
func method(t *testing.T, what string, v reflect.Value, i int) {
	t.Helper()
	m, name := v.Method(i), fmt.Sprintf("%s %s.%s", what, v.Type(), v.Type().Method(i).Name)
	for null := -1; null < m.Type().NumIn(); null++ {
		if null >= 0 && !nilable(m.Type().In(null)) {
			continue
		}
		says(t, fmt.Sprintf("%s, nil argument %d", name, null), func() []reflect.Value {
			args := make([]reflect.Value, m.Type().NumIn())
			for i := range args {
				args[i] = argument(m.Type().In(i), i == null)
			}
			if m.Type().IsVariadic() {
				return m.CallSlice(args)
			}
			return m.Call(args)
		})
	}
}

func nilable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Func, reflect.Map:
		return true
	}
	return false
}

// argument returns a value of type t that works as far as possible, or the zero value.
func argument(t reflect.Type, zero bool) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case zero:
	case t == reflect.TypeFor[context.Context]():
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		time.AfterFunc(100*time.Millisecond, cancel)
		v.Set(reflect.ValueOf(ctx))
	case t.Kind() == reflect.Func:
		v.Set(reflect.MakeFunc(t, func([]reflect.Value) (out []reflect.Value) {
			for i := range t.NumOut() {
				out = append(out, reflect.Zero(t.Out(i)))
			}
			return out
		}))
	case t == reflect.TypeFor[pgx.CopyFromSource]():
		v.Set(reflect.ValueOf(pgx.CopyFromRows(nil)))
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
	}
	return v
}

// says fails if f panics with a runtime.Error, such as a nil dereference, or with a text that does not begin with a package's name.
func says(t *testing.T, name string, f func() []reflect.Value) {
	t.Helper()
	defer func() {
		t.Helper()
		switch v := recover().(type) {
		case nil:
		case runtime.Error:
			t.Errorf("%s: %v", name, v)
		default:
			assert.Contains(t, fmt.Sprint(v), " nil", name)
		}
	}()
	for _, out := range f() {
		switch v := out.Interface().(type) {
		case interface{ Release() }:
			if out.Kind() == reflect.Pointer && !out.IsNil() {
				v.Release()
			}
		case pgx.Tx:
			_ = v.Rollback(context.Background())
		case pgx.Rows:
			v.Close()
		case pgx.BatchResults:
			_ = v.Close()
		}
	}
}

// TestEachTypeWithMethodsIsCalledOnNil fails for a new type that the test above does not know.
func TestEachTypeWithMethodsIsCalledOnNil(t *testing.T) {
	t.Parallel()
	for dir, values := range zeros {
		known := map[string]bool{}
		for _, v := range values {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Elem().Name(), "[")
			known[name] = true
		}
		for _, name := range exportedTypes(t, dir) {
			if strings.HasSuffix(name, "Error") { // fmt shows a nil error as <nil>
				continue
			}
			assert.True(t, known[name], "%s.%s is not in zeros", dir, name)
		}
	}
	require.NotEmpty(t, zeros)
}
