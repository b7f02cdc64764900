package emf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

// Options says what New's lines look like. The zero value is right on Lambda.
type Options struct {
	// Namespace is CloudWatch's name for the group of metrics. Defaults to "lmipool".
	Namespace string

	// Dimensions tell the metrics of one function from those of another. Every combination of their values is paid for, so give none whose values are many,
	// such as a request id, a tenant or an environment. At most 30. Defaults to FunctionName with AWS_LAMBDA_FUNCTION_NAME, or to none outside Lambda.
	Dimensions map[string]string

	// Every is the time between two lines. Defaults to a minute on managed instances and outside Lambda. On the other kinds of Lambda it is the least time
	// between the lines at the ends of two invocations. Its default there is 0: each invocation has one.
	Every time.Duration

	// Writer gets each line in one Write. Defaults to os.Stdout, which Lambda sends to the function's log.
	Writer io.Writer
}

// Metrics is an observer of one pool that writes its metrics. It is safe for concurrent use.
type Metrics struct {
	options Options
	freezes bool   // lines are written at the end of invocations, since timers do not fire between them
	level   string // the level of each line: Lambda takes a line without a level and a timestamp for INFO, and drops it if the function's level is above that

	create, wait, use, operation, invocation histogram
	timeouts                                 atomic.Int64

	mu      sync.Mutex
	db      Pool // nil until Watch is called, and after it has been stopped
	last    reading
	wrote   time.Time
	samples map[string][]float64 // of the gauges, since the last line
	stop    chan struct{}        // closed when the lines are to end
}

// Pool is what Watch reads: a *lmipool.Pool or a *pool.Pool.
type Pool interface{ Stat() *pool.Stat }

// Format writes what m is. What is in it changes meanwhile, and may be printed with a Config that has m among its Observers.
func (*Metrics) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.Metrics") }

// New makes a Metrics. Put it into Config.Observers, and call Watch with the pool. It returns an error if an option is wrong.
func New(o Options) (*Metrics, error) {
	env, _ := lambdaenv.Detect() // Open logs what is wrong with the environment
	m := &Metrics{options: o, freezes: env.CanFreeze(), level: os.Getenv("AWS_LAMBDA_LOG_LEVEL"), samples: map[string][]float64{}}
	if o.Namespace == "" {
		m.options.Namespace = "lmipool"
	}
	if o.Dimensions == nil && env.FunctionName != "" {
		m.options.Dimensions = map[string]string{"FunctionName": env.FunctionName}
	}
	if o.Every == 0 && !m.freezes {
		m.options.Every = time.Minute
	}
	if o.Writer == nil {
		m.options.Writer = os.Stdout
	}
	return m, m.options.validate()
}

const (
	mostDimensions = 30 // of CloudWatch
	mostOfName     = 250
	mostOfValue    = 1024
)

func (o *Options) validate() error {
	var errs []error
	if n := len(o.Dimensions); n > mostDimensions {
		errs = append(errs, fmt.Errorf("emf: Options.Dimensions has %d: want %d at most", n, mostDimensions))
	}
	for name, value := range o.Dimensions {
		switch {
		case name == "" || len(name) > mostOfName || strings.HasPrefix(name, ":") || !printable(name):
			errs = append(errs, fmt.Errorf("emf: Options.Dimensions has the name %q: want 1 to %d printable ASCII characters, the first no colon", name, mostOfName))
		case name == "_aws" || name == "level" || name == "timestamp" || isMetric(name):
			errs = append(errs, fmt.Errorf("emf: Options.Dimensions has the name %q, which is a member of each line: want another", name))
		case value == "" || len(value) > mostOfValue || !printable(value):
			errs = append(errs, fmt.Errorf("emf: Options.Dimensions[%q] is %q: want 1 to %d printable ASCII characters", name, value, mostOfValue))
		}
	}
	if n := o.Namespace; len(n) > 255 || strings.HasPrefix(n, "AWS/") || !printable(n) {
		errs = append(errs, fmt.Errorf("emf: Options.Namespace is %q: want at most 255 printable ASCII characters that do not begin with AWS/", n))
	}
	if o.Every < 0 {
		errs = append(errs, fmt.Errorf("emf: Options.Every is %s: want more than 0, or 0 for the default", o.Every))
	}
	return errors.Join(errs...)
}

// printable reports whether s has only ASCII characters that can be seen, and one that is no space, as CloudWatch wants it.
func printable(s string) bool {
	return strings.TrimSpace(s) != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// Watch begins to write lines about db, which must be the pool that has m as its observer. They end when db is closed, or stop is called, with one last
// line. A second call of Watch watches another pool in place of the first.
func (m *Metrics) Watch(db Pool) (stop func()) {
	if m == nil || m.samples == nil || db == nil {
		panic("emf: Watch: the pool is nil, or the Metrics is nil or not from New")
	}
	_ = db.Stat() // panics with a sentence if db is a nil pool
	m.end()
	over := make(chan struct{})
	m.mu.Lock()
	m.db, m.stop, m.wrote = db, over, time.Now()
	m.last = m.read()
	m.mu.Unlock()
	if !m.freezes {
		go m.tick(over)
	}
	return m.end
}

// samplesOfALine is how often gauges are looked at for one line: a queue that came and went between two lines is seen.
const samplesOfALine = 12

func (m *Metrics) tick(over chan struct{}) {
	t := time.NewTicker(max(m.options.Every/samplesOfALine, time.Millisecond))
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-over:
			return
		case <-t.C:
			m.mu.Lock()
			if m.stop == over {
				m.sample()
				if n%samplesOfALine == 0 {
					m.write(time.Now())
				}
			}
			m.mu.Unlock()
		}
	}
}

// end writes the last line, if the lines have not ended.
func (m *Metrics) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil {
		return
	}
	m.sample()
	m.write(time.Now())
	close(m.stop)
	m.db = nil
}

// ObserveAcquire counts how long a caller waited.
func (m *Metrics) ObserveAcquire(_ context.Context, e observe.Acquire) {
	m.wait.add(e.End.Sub(e.Start))
	if e.Outcome == observe.Refused || e.Outcome == observe.Canceled && errors.Is(e.Err, context.DeadlineExceeded) {
		m.timeouts.Add(1)
	}
}

// ObserveRelease counts how long a connection was used.
func (m *Metrics) ObserveRelease(_ context.Context, e observe.Release) { m.use.add(e.End.Sub(e.Start)) }

// ObserveDial counts how long a dial took that succeeded.
func (m *Metrics) ObserveDial(_ context.Context, e observe.Dial) {
	if e.Err == nil {
		m.create.add(e.End.Sub(e.Start))
	}
}

// ObserveStatement counts how long a statement took.
func (m *Metrics) ObserveStatement(_ context.Context, e observe.Statement) {
	m.operation.add(e.End.Sub(e.Start))
}

// ObserveInvocation counts how long an invocation took, and writes its line where the process may be frozen after it.
func (m *Metrics) ObserveInvocation(_ context.Context, e observe.Invocation) {
	m.invocation.add(e.End.Sub(e.Start))
	if !m.freezes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.db != nil && now.Sub(m.wrote) >= m.options.Every {
		m.sample()
		m.write(now)
	}
}

// ObserveShutdown writes the last line.
func (m *Metrics) ObserveShutdown(context.Context, observe.Shutdown) { m.end() }

// read returns what the pool counts now.
func (m *Metrics) read() reading {
	r := reading{pool: m.db.Stat(), timeouts: m.timeouts.Load()}
	if h, ok := m.db.(interface{ HandlerStat() lmipool.HandlerStat }); ok {
		r.handler = h.HandlerStat()
	}
	return r
}
