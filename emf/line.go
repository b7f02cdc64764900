package emf

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/pool"
)

// reading is what a pool had counted at one moment.
type reading struct {
	pool     *pool.Stat
	handler  lmipool.HandlerStat
	timeouts int64
}

// gauges are the metrics that are sampled, and counters those whose increase a line has.
var gauges = []struct {
	name, unit string
	of         func(r reading) float64
}{
	{"db.client.connection.count.used", "Count", func(r reading) float64 { return float64(r.pool.AcquiredConns()) }},
	{"db.client.connection.count.idle", "Count", func(r reading) float64 { return float64(r.pool.IdleConns()) }},
	{"db.client.connection.max", "Count", func(r reading) float64 { return float64(r.pool.MaxConns()) }},
	{"db.client.connection.pending_requests", "Count", func(r reading) float64 { return float64(r.pool.Queued()) }},
	{"lmipool.limit", "Count", func(r reading) float64 { return float64(r.pool.Limit()) }},
	{"lmipool.share", "Count", func(r reading) float64 { return float64(r.pool.Fleet().Share) }},
	{"lmipool.environments", "Count", environments},
	{"lmipool.in_flight", "Count", func(r reading) float64 { return float64(r.handler.InFlight) }},
	{"lmipool.lateness", "Seconds", func(r reading) float64 { return seconds(r.handler.Lateness) }},
}

// environments returns how many pools share the budget, or 0 if there is none.
func environments(r reading) float64 {
	f := r.pool.Fleet()
	if f.Budget == 0 {
		return 0
	}
	return float64(f.Environments)
}

var counters = []struct {
	name string
	of   func(r reading) int64
}{
	{"db.client.connection.timeouts", func(r reading) int64 { return r.timeouts }},
	{"lmipool.rides", func(r reading) int64 { return r.pool.Lanes().Rides }},
	{"lmipool.flights", func(r reading) int64 { return r.pool.Lanes().Flights }},
	{"lmipool.guard_refusals", func(r reading) int64 { return r.pool.Lanes().GuardRefusals }},
	{"lmipool.refused", func(r reading) int64 { return r.pool.RefusedCount() }},
	{"lmipool.nested", func(r reading) int64 { return r.pool.Invocations().Nested }},
	{"lmipool.dials.failed", func(r reading) int64 { return r.pool.Dials().Failed }},
	{"lmipool.dials.refused", func(r reading) int64 { return r.pool.Dials().Refused }},
	{"lmipool.failovers", func(r reading) int64 { return r.pool.Dials().Failovers }},
	{"lmipool.cancels.lost", func(r reading) int64 { return r.pool.Cancels().Lost }},
	{"lmipool.resets", func(r reading) int64 { return r.pool.Invocations().Resets }},
	{"lmipool.unclean", func(r reading) int64 { return r.pool.Invocations().Unclean }},
	{"lmipool.leaks", func(r reading) int64 { return r.pool.Invocations().Leaks }},
	{"lmipool.late_uses", func(r reading) int64 { return r.pool.Invocations().LateUses }},
	{"lmipool.overruns", func(r reading) int64 { return r.handler.Overruns }},
	{"lmipool.panics", func(r reading) int64 { return r.pool.PanicCount() + r.handler.Panics }},
	{"lmipool.late_replies", func(r reading) int64 { return r.handler.LateReplies }},
	{"lmipool.invocations.refused", func(r reading) int64 { return r.handler.Refused }},
}

// durations are the metrics that a line has as values and counts.
func (m *Metrics) durations() map[string]*histogram {
	return map[string]*histogram{
		"db.client.connection.create_time": &m.create,
		"db.client.connection.wait_time":   &m.wait,
		"db.client.connection.use_time":    &m.use,
		"db.client.operation.duration":     &m.operation,
		"lmipool.invocation.duration":      &m.invocation,
	}
}

// Names returns the names of all metrics, sorted.
func Names() (names []string) {
	for _, g := range gauges {
		names = append(names, g.name)
	}
	for _, c := range counters {
		names = append(names, c.name)
	}
	names = slices.AppendSeq(names, maps.Keys(new(Metrics).durations()))
	slices.Sort(names)
	return names
}

func isMetric(name string) bool { return slices.Contains(Names(), name) }

// directive and definition are CloudWatch's: they say which members of the line are metrics.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []definition
}

type definition struct{ Name, Unit string }

// sample looks at the gauges. The caller has locked mu.
func (m *Metrics) sample() {
	r := m.read()
	for _, g := range gauges {
		if len(m.samples[g.name]) <= samplesOfALine {
			m.samples[g.name] = append(m.samples[g.name], g.of(r))
		}
	}
}

// write writes a line with what has happened since the last one. The caller has locked mu, and has called sample.
func (m *Metrics) write(now time.Time) {
	line := map[string]any{}
	var metrics []definition
	add := func(name, unit string, value any) {
		line[name] = value
		metrics = append(metrics, definition{name, unit})
	}
	r := m.read()
	for _, g := range gauges {
		if ofFleet := g.name == "lmipool.share" || g.name == "lmipool.environments"; !ofFleet || slices.Max(m.samples[g.name]) > 0 {
			add(g.name, g.unit, m.samples[g.name])
		}
	}
	for _, c := range counters {
		if n := c.of(r) - c.of(m.last); n > 0 {
			add(c.name, "Count", n)
		}
	}
	for name, h := range m.durations() {
		if v := h.take(); v != nil {
			add(name, "Seconds", v)
		}
	}
	slices.SortFunc(metrics, func(a, b definition) int { return strings.Compare(a.Name, b.Name) })
	for name, value := range m.options.Dimensions {
		line[name] = value
	}
	line["_aws"] = map[string]any{
		"Timestamp": now.UnixMilli(),
		"CloudWatchMetrics": []directive{{
			m.options.Namespace, [][]string{slices.AppendSeq([]string{}, maps.Keys(m.options.Dimensions))}, metrics,
		}},
	}
	if m.level != "" {
		line["level"], line["timestamp"] = m.level, now.UTC().Format(time.RFC3339Nano)
	}
	text, err := json.Marshal(line)
	if err != nil {
		return // it has only numbers and strings
	}
	_, _ = m.options.Writer.Write(append(text, '\n'))
	m.last, m.wrote = r, now
	clear(m.samples)
}
