package pool

import (
	"reflect"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Functions of the library are known by the names that Go gives them, so that renaming the module or moving a package out
// of pool and internal shows here. The root's InTx is TestNoFrameIsInTxs there.
func TestFramesOfTheLibraryAreKnownByTheirPackage(t *testing.T) {
	t.Parallel()
	const module = "github.com/lmipool/lmipool"
	for _, f := range []any{
		(*Pool).Acquire, (*Pool).QueryRow, (*Bound).QueryRow, (*Lease).Release, InTx, New, sqltext.First, pgtest.Main,
		func() {}, (*gostack.Site).Capture,
	} {
		name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
		assert.True(t, gostack.Hidden(name), name)
	}
	for _, name := range []string{
		module + "/internal/sched.(*Scheduler).Acquire",
		module + "/internal/sched.heap[go.shape.*" + module + "_test.T].push",
		module + ".Handler[...].func1", module + "/lmitest.Call[...]", "runtime.gopark",
		"github.com/aws/aws-lambda-go/lambda.(*runtimeAPIClient).next",
	} {
		assert.True(t, gostack.Hidden(name), name)
	}
	for _, name := range []string{
		runtime.FuncForPC(reflect.ValueOf(assert.True).Pointer()).Name(),
		"main.main", "main.(*Pool).Acquire", "",
		module + "_test.TestInTx", module + "/pool_test.TestInTx.func1",
		module + "/internal/sched_test.TestAcquire", module + "/poolside.Acquire", module + "/benchmarks.main",
		"example.com/app.Each[" + module + "/pool.Pool]", "example.com/v1%2e2/app.(*Pool).Acquire.func1",
	} {
		assert.False(t, gostack.Hidden(name), name)
	}
}
