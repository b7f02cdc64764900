package emf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/emf"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
	"github.com/lmipool/lmipool/observe"
)

// TestMain is also the main of the handler that lmitest runs.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		child()
	}
	os.Exit(pgtest.Main(m))
}

// child is a function with metrics. Its argument says what the invocation does.
func child() {
	every, _ := time.ParseDuration(os.Getenv("EVERY"))
	metrics, err := emf.New(emf.Options{Every: every})
	if err != nil {
		log.Fatal(err)
	}
	db, err := lmipool.Open(context.Background(), "", &lmipool.Config{Observers: []any{metrics}})
	if err != nil {
		log.Fatal(err)
	}
	metrics.Watch(db)
	lmipool.Start(db, func(ctx context.Context, do string) (n int, err error) {
		switch do {
		case "leak":
			_, err = db.Acquire(ctx)
		case "panic":
			panic("as asked")
		default:
			err = db.QueryRow(ctx, "select $1::int", 7).Scan(&n)
		}
		return n, err
	})
}

// output is a function's output, which it writes while the test reads.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// lines returns o's lines that are metrics.
func (o *output) lines() (all [][]byte) {
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, `"_aws"`) {
			all = append(all, []byte(strings.TrimSuffix(line, "\n")))
		}
	}
	return all
}

// start runs the child in a function.
func start(t *testing.T, c lmitest.Config, env ...string) (*lmitest.Function, *output) {
	t.Helper()
	out := &output{}
	c.Command, c.Stdout, c.Stderr = []string{os.Args[0]}, out, out
	c.FunctionName, c.Timeout, c.InitTimeout = "orders", 30*time.Second, time.Minute
	c.Env = append([]string{"DATABASE_URL=" + pgtest.Database(t)}, env...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	f, err := lmitest.Start(ctx, c)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = f.Shutdown(context.Background())
		if t.Failed() {
			t.Logf("the function's output:\n%.20000s", out)
		}
	})
	return f, out
}

// invoke invokes f n times, and reports how many failed.
func invoke(t *testing.T, f *lmitest.Function, n, atOnce int, do string) (failed int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	room := make(chan struct{}, atOnce)
	payload, err := json.Marshal(do)
	require.NoError(t, err)
	for range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			reply, err := f.Invoke(context.Background(), payload)
			assert.NoError(t, err)
			if reply != nil && reply.Error != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// sums adds up what all lines have: counters, and the counts of durations. It checks each line.
func sums(t *testing.T, lines [][]byte) map[string]float64 {
	t.Helper()
	s, all := readSchema(t), map[string]float64{}
	for _, text := range lines {
		assert.Empty(t, faults(t, s, text), "%s", text)
		line := parse(t, text)
		assert.Equal(t, "orders", line["FunctionName"])
		for name, v := range line {
			switch v := v.(type) {
			case json.Number:
				n, err := v.Float64()
				require.NoError(t, err)
				all[name] += n
			case map[string]any:
				if c, ok := v["Count"].(json.Number); ok {
					n, err := c.Float64()
					require.NoError(t, err)
					all[name] += n
				}
			case []any:
				assert.LessOrEqual(t, len(v), 14, name)
			}
			if !slices.Contains([]string{"_aws", "FunctionName", "level", "timestamp"}, name) {
				assert.Contains(t, emf.Names(), name)
			}
		}
	}
	return all
}

// A thousand invocations on a managed instance: every line is as the schema and the specification want it, and together they have counted everything.
func TestAThousandInvocationsOnAManagedInstance(t *testing.T) {
	t.Parallel()
	f, out := start(t, lmitest.Config{}, "EVERY=200ms", "AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=ERROR")
	invoke(t, f, 7, 1, "leak")
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "lmipool.leaks") }, time.Minute, time.Millisecond)
	assert.Zero(t, invoke(t, f, 1000, 64, "read"))
	assert.Equal(t, 2, invoke(t, f, 2, 1, "panic"))
	require.NoError(t, f.Shutdown(context.Background()))
	lines := out.lines()
	assert.Greater(t, len(lines), 1, "one each 200 ms, and one at the end")
	assert.Less(t, len(lines), 500, "and not one for each invocation")
	for _, line := range lines {
		line := parse(t, line)
		assert.Equal(t, "ERROR", line["level"], "Lambda must not drop the line")
		_, err := time.Parse(time.RFC3339, fmt.Sprint(line["timestamp"]))
		assert.NoError(t, err)
	}
	all := sums(t, lines)
	assert.EqualValues(t, 1009, all["lmipool.invocation.duration"])
	assert.EqualValues(t, 1000, all["db.client.operation.duration"])
	assert.GreaterOrEqual(t, all["db.client.connection.wait_time"], 1007.)
	assert.Positive(t, all["db.client.connection.use_time"])
	assert.Positive(t, all["db.client.connection.create_time"])
	assert.EqualValues(t, 7, all["lmipool.leaks"])
	assert.EqualValues(t, 2, all["lmipool.panics"])
	for _, name := range []string{"lmipool.overruns", "lmipool.share", "lmipool.environments"} {
		assert.NotContains(t, string(bytes.Join(lines, nil)), name, "what is 0 is not paid for")
	}
}

// The end of the environment is a reason to write, however long ago the last line was.
func TestTheLastLineIsWrittenOnSIGTERM(t *testing.T) {
	t.Parallel()
	f, out := start(t, lmitest.Config{}, "EVERY=1h", "LMIPOOL_FLEET_BUDGET=10")
	assert.Zero(t, invoke(t, f, 20, 8, "read"))
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "share of the fleet's budget") }, time.Minute, time.Millisecond)
	assert.Empty(t, out.lines())
	require.NoError(t, f.Shutdown(context.Background()))
	lines := out.lines()
	require.Len(t, lines, 1)
	assert.EqualValues(t, 20, sums(t, lines)["lmipool.invocation.duration"])
	assert.Regexp(t, `"lmipool.share":\[[1-9]`, string(lines[0]), "a budget is shown")
	assert.Regexp(t, `"lmipool.environments":\[[1-9]`, string(lines[0])) // other tests' pools have the same role
}

// On demand the process may be frozen when an invocation is over, so each has its line.
func TestEachInvocationOnDemandHasItsLine(t *testing.T) {
	t.Parallel()
	f, out := start(t, lmitest.Config{Kind: lambdaenv.OnDemand})
	assert.Zero(t, invoke(t, f, 20, 1, "read"))
	// Each was written before its reply, but what copies the output may come later than that.
	require.Eventually(t, func() bool { return len(out.lines()) >= 20 }, time.Minute, time.Millisecond)
	assert.Len(t, out.lines(), 20)
	require.NoError(t, f.Shutdown(context.Background()))
	lines := out.lines()
	all := sums(t, lines)
	assert.EqualValues(t, 20, all["lmipool.invocation.duration"])
	assert.EqualValues(t, 20, all["db.client.operation.duration"])
}

func TestALineIsCheckedByWhatItSays(t *testing.T) {
	t.Parallel()
	s := readSchema(t)
	good := `{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[["F"]],"Metrics":[{"Name":"m","Unit":"Seconds"}]}]},"F":"f","m":%s}`
	histogram := `{"Values":[1,2],"Counts":[3,1],"Min":0.95,"Max":2.1,"Sum":5,"Count":4}`
	for _, v := range []string{"1", "[1,2]", histogram} {
		assert.Empty(t, faults(t, s, fmt.Appendf(nil, good, v)), v)
	}
	bad := []string{
		fmt.Sprintf(good, `"1"`), fmt.Sprintf(good, `[]`), fmt.Sprintf(good, "["+strings.Repeat("1,", 100)+"1]"),
		fmt.Sprintf(good, strings.Replace(histogram, "[3,1]", "[3]", 1)), fmt.Sprintf(good, strings.Replace(histogram, `"Count":4`, `"Count":5`, 1)),
		fmt.Sprintf(good, strings.Replace(histogram, `"Max":2.1`, `"Max":1.5`, 1)), fmt.Sprintf(good, strings.Replace(histogram, `"Sum":5`, `"Sum":9`, 1)),
		strings.Replace(fmt.Sprintf(good, "1"), `"Timestamp":1`, `"Timestamp":1.5`, 1), strings.Replace(fmt.Sprintf(good, "1"), "Seconds", "seconds", 1),
		strings.Replace(fmt.Sprintf(good, "1"), `"Namespace":"n",`, "", 1), strings.Replace(fmt.Sprintf(good, "1"), `[["F"]]`, "[]", 1),
		strings.Replace(fmt.Sprintf(good, "1"), `"F":"f"`, `"F":""`, 1), strings.Replace(fmt.Sprintf(good, "1"), `["F"]`, "["+strings.Repeat(`"F",`, 30)+`"F"]`, 1),
		strings.Replace(fmt.Sprintf(good, "1"), `"m":1`, `"x":1`, 1), strings.Replace(fmt.Sprintf(good, "1"), `"CloudWatchMetrics":[`, `"CloudWatchMetrics":[],"x":[`, 1),
	}
	for _, line := range bad {
		assert.NotEmpty(t, faults(t, s, []byte(line)), line)
	}
}

// The values of a histogram are near what was measured, whatever that was, and never too many.
func TestDurationsAreCountedFromMicrosecondsToHours(t *testing.T) {
	t.Parallel()
	out := &output{}
	m, err := emf.New(emf.Options{Writer: out, Dimensions: map[string]string{"FunctionName": "orders"}})
	require.NoError(t, err)
	stop := m.Watch(openQuiet(t))
	at := time.Now()
	for d := time.Duration(1); d < 3*time.Hour; d += d/8 + 1 {
		m.ObserveRelease(t.Context(), observe.Release{Start: at, End: at.Add(d)})
	}
	for range 90 {
		m.ObserveStatement(t.Context(), observe.Statement{Start: at, End: at.Add(2 * time.Millisecond)})
	}
	for range 10 {
		m.ObserveStatement(t.Context(), observe.Statement{Start: at, End: at.Add(300 * time.Millisecond)})
	}
	m.ObserveAcquire(t.Context(), observe.Acquire{Start: at, End: at, Outcome: observe.Refused})
	m.ObserveAcquire(t.Context(), observe.Acquire{Start: at, End: at, Outcome: observe.Canceled, Err: context.DeadlineExceeded})
	m.ObserveAcquire(t.Context(), observe.Acquire{Start: at, End: at, Outcome: observe.Canceled, Err: context.Canceled})
	stop()
	stop() // once more has no effect
	lines := out.lines()
	require.Len(t, lines, 1)
	line := parse(t, lines[0])
	took := line["db.client.operation.duration"].(map[string]any)
	require.Equal(t, []any{json.Number("90"), json.Number("10")}, took["Counts"])
	for i, want := range []float64{0.002, 0.3} {
		got, err := took["Values"].([]any)[i].(json.Number).Float64()
		require.NoError(t, err)
		assert.InEpsilon(t, want, got, 0.1)
	}
	assert.Equal(t, json.Number("0.3"), took["Max"])
	assert.Equal(t, json.Number("2"), line["db.client.connection.timeouts"])
	values := line["db.client.connection.use_time"].(map[string]any)["Values"].([]any)
	assert.Greater(t, len(values), 50)
	assert.LessOrEqual(t, len(values), 100)
	s := readSchema(t)
	// What took longer than the last bucket makes the sum wrong, not the line.
	assert.Empty(t, slices.DeleteFunc(faults(t, s, lines[0]), func(f string) bool { return strings.Contains(f, "in sum") }))
}

// openQuiet opens a pool whose log is not read.
func openQuiet(t *testing.T) *lmipool.Pool {
	t.Helper()
	db, err := lmipool.Open(t.Context(), pgtest.Database(t), nil)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func TestWrongOptionsAreErrors(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range 31 {
		many[fmt.Sprint("d", i)] = "v"
	}
	for want, o := range map[string]emf.Options{
		"has 31: want 30 at most":         {Dimensions: many},
		`has the name ""`:                 {Dimensions: map[string]string{"": "v"}},
		`has the name ":a"`:               {Dimensions: map[string]string{":a": "v"}},
		`has the name "_aws"`:             {Dimensions: map[string]string{"_aws": "v"}},
		`has the name "level"`:            {Dimensions: map[string]string{"level": "v"}},
		`has the name "lmipool.leaks"`:    {Dimensions: map[string]string{"lmipool.leaks": "v"}},
		`Dimensions["a"] is ""`:           {Dimensions: map[string]string{"a": ""}},
		`Dimensions["a"] is "Zürich"`:     {Dimensions: map[string]string{"a": "Zürich"}},
		`Namespace is "AWS/Lambda"`:       {Namespace: "AWS/Lambda"},
		"Every is -1s: want more than 0,": {Every: -time.Second},
	} {
		_, err := emf.New(o)
		assert.ErrorContains(t, err, want)
	}
	_, err := emf.New(emf.Options{Dimensions: map[string]string{}})
	assert.NoError(t, err)
}

// Each metric is told in doc.go, and in docs/metrics.md.
func TestEachMetricIsTold(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	docs, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	assert.Contains(t, string(docs), fmt.Sprintf("All together are %d.", len(emf.Names())))
	text := strings.NewReplacer(".used, .idle", ".used db.client.connection.count.idle", ".failed, .refused", ".failed lmipool.dials.refused").Replace(string(doc))
	for _, name := range emf.Names() {
		assert.Contains(t, text, name)
		assert.Contains(t, string(docs), "`"+name+"`")
	}
}

// The dashboard and the alarms name only metrics that are written, and there are five alarms, which docs say why.
func TestTheDashboardAndTheAlarmsNameWhatIsWritten(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/cloudwatch/dashboard.json")
	require.NoError(t, err)
	var board struct {
		Variables []struct{ Property, Search string }
		Widgets   []struct {
			X, Y, Width, Height int
			Properties          struct {
				Title   string
				Metrics [][]any
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	shown := map[string]bool{}
	for _, w := range board.Widgets {
		assert.LessOrEqual(t, w.X+w.Width, 24, w.Properties.Title)
		require.NotEmpty(t, w.Properties.Metrics, w.Properties.Title)
		for _, m := range w.Properties.Metrics {
			require.GreaterOrEqual(t, len(m), 4)
			assert.Equal(t, []any{"lmipool", "FunctionName", "-"}, []any{m[0], m[2], m[3]})
			shown[m[1].(string)] = true
		}
	}
	assert.Equal(t, emf.Names(), slices.Sorted(maps.Keys(shown)), "the dashboard shows every metric")
	assert.Contains(t, board.Variables[0].Search, "lmipool.limit")

	text, err = os.ReadFile("../deploy/cloudwatch/alarms.yaml")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`MetricName: (\S+)`).FindAllSubmatch(text, -1) {
		assert.Contains(t, emf.Names(), string(m[1]))
	}
	assert.Equal(t, 5, bytes.Count(text, []byte("Type: AWS::CloudWatch::Alarm")))
	assert.Equal(t, 5, bytes.Count(text, []byte("TreatMissingData: notBreaching")), "a count of 0 is not sent")
	readme, err := os.ReadFile("../deploy/cloudwatch/README.md")
	require.NoError(t, err)
	assert.Equal(t, 5+1, strings.Count(string(readme), "\n| "), "each alarm has its row")
}
