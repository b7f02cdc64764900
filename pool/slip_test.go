package pool

import (
	"reflect"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// Slip makes each time that the pool has stored older: by wall on the wall clock, and by mono on the monotonic clock. So the pool sees what it would see
// after it was frozen for that long. Nothing may use the pool meanwhile. It does not follow funcs and channels, and no other module's types.
func (p *Pool) Slip(wall, mono time.Duration) (times int) {
	s := slip{wall, mono, map[unsafe.Pointer]bool{}, 0}
	s.in(reflect.ValueOf(p))
	return s.times
}

type slip struct {
	wall, mono time.Duration
	seen       map[unsafe.Pointer]bool
	times      int
}

var typeOfTime = reflect.TypeFor[time.Time]()

// in moves the times in v, which must be addressable unless it is a pointer, an interface or a map.
func (s *slip) in(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if e := v.Type().Elem(); v.IsNil() || s.seen[v.UnsafePointer()] || e.Name() != "" && !strings.HasPrefix(e.PkgPath(), "github.com/lmipool/lmipool/") {
			return
		}
		s.seen[v.UnsafePointer()] = true
		s.in(v.Elem())
	case reflect.Interface:
		if v.Elem().Kind() == reflect.Pointer {
			s.in(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			s.in(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if e := v.MapIndex(k); e.Kind() == reflect.Pointer || e.Kind() == reflect.Interface {
				s.in(e)
			}
		}
	case reflect.Struct:
		if v.Type() == typeOfTime {
			s.move((*stored)(v.Addr().UnsafePointer()))
			return
		}
		if n, ok := reflect.TypeAssert[*atomic.Int64](reflect.NewAt(v.Type(), v.Addr().UnsafePointer())); ok { // it may be a time in Unix nanoseconds
			if at := time.Unix(0, n.Load()); time.Since(at).Abs() < 24*time.Hour {
				n.Store(at.Add(-s.wall).UnixNano())
				s.times++
			}
			return
		}
		for i := range v.NumField() {
			f := v.Field(i)
			s.in(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem())
		}
	}
}

// stored has the fields of a time.Time.
type stored struct {
	wall uint64 // if the highest bit is set: 33 bits of seconds, 30 of nanoseconds
	ext  int64  // if that bit is set, the monotonic clock in nanoseconds, and otherwise seconds
}

func (s *slip) move(t *stored) {
	switch seconds := int64(s.wall / time.Second); {
	case *t == stored{}:
		return
	case t.wall>>63 == 1:
		t.wall -= uint64(seconds) << 30
		t.ext -= int64(s.mono)
	default:
		t.ext -= seconds
	}
	s.times++
}
