package lmiotel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/lmipool/lmipool/internal/connstring"
)

const scope = "github.com/lmipool/lmipool/otel"

// Telemetry is an observer of one pool. It is safe for concurrent use.
type Telemetry struct {
	instruments
	meter     metric.Meter
	tracer    trace.Tracer // nil: no spans
	queryText bool
	sets      sets
	poolAttrs attribute.Set // those of the metrics of connections
	ofPool    []metric.RecordOption
	watched   atomic.Pointer[metric.Registration]

	acquireAttrs []attribute.KeyValue // those of the spans of acquires
}

// Option changes what New makes.
type Option func(*options)

type options struct {
	meters     metric.MeterProvider
	tracers    trace.TracerProvider
	connString string
	name       string
	spans      bool
	queryText  bool
}

// WithMeterProvider sets who makes the metrics. The default is OpenTelemetry's global MeterProvider.
func WithMeterProvider(p metric.MeterProvider) Option { return func(o *options) { o.meters = p } }

// WithTracerProvider sets who makes the spans. The default is OpenTelemetry's global TracerProvider.
func WithTracerProvider(p trace.TracerProvider) Option { return func(o *options) { o.tracers = p } }

// WithConnString tells which server and database the pool uses: its host, port and database become the attributes server.address, server.port and
// db.namespace. Give what Open was given. The default is Open's: DATABASE_URL, else the PG* variables.
func WithConnString(connString string) Option { return func(o *options) { o.connString = connString } }

// WithPoolName sets db.client.connection.pool.name. The default is host:port/database, as the conventions propose.
func WithPoolName(name string) Option { return func(o *options) { o.name = name } }

// WithQueryText gives spans of statements the attribute db.query.text: the statement's text without comments, with each literal replaced by ?.
func WithQueryText() Option { return func(o *options) { o.queryText = true } }

// WithoutSpans makes metrics only.
func WithoutSpans() Option { return func(o *options) { o.spans = false } }

// New makes a Telemetry. It returns an error if the connection string is wrong, a provider is nil, or an instrument cannot be made.
func New(opts ...Option) (*Telemetry, error) {
	o := options{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider(), connString: os.Getenv("DATABASE_URL"), spans: true}
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if isNil(o.meters) || isNil(o.tracers) {
		return nil, errors.New("lmiotel: WithMeterProvider or WithTracerProvider was given nil: give it a provider, or leave it out for OpenTelemetry's global one")
	}
	config, err := connstring.Parse(o.connString)
	if err != nil {
		return nil, fmt.Errorf("lmiotel: the connection string: %w", err)
	}
	server := []attribute.KeyValue{semconv.ServerAddress(config.Host), semconv.ServerPort(int(config.Port))}
	if config.Database != "" {
		server = append(server, semconv.DBNamespace(config.Database))
	}
	if o.name == "" {
		o.name = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))) + "/" + config.Database
	}
	t := &Telemetry{meter: o.meters.Meter(scope), queryText: o.queryText}
	t.sets.base = append([]attribute.KeyValue{semconv.DBSystemNamePostgreSQL}, server...)
	t.poolAttrs = attribute.NewSet(semconv.DBClientConnectionPoolName(o.name))
	t.acquireAttrs = append(slices.Clip(t.sets.base), semconv.DBClientConnectionPoolName(o.name))
	t.ofPool = []metric.RecordOption{metric.WithAttributeSet(t.poolAttrs)}
	if o.spans {
		t.tracer = o.tracers.Tracer(scope)
	}
	if t.instruments, err = newInstruments(t.meter); err != nil {
		return nil, fmt.Errorf("lmiotel: %w", err)
	}
	return t, nil
}

func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}

// peer returns the attributes of the server's own address, or none.
func (s *sets) peer(server net.Addr) []attribute.KeyValue {
	switch a := server.(type) {
	case nil:
		return nil
	case *net.TCPAddr:
		return s.peers.get(a.AddrPort(), netip.AddrPort{}, func(at netip.AddrPort) []attribute.KeyValue {
			if !at.IsValid() { // the hundredth server
				return nil
			}
			return []attribute.KeyValue{semconv.NetworkPeerAddress(at.Addr().Unmap().String()), semconv.NetworkPeerPort(int(at.Port()))}
		})
	default:
		return []attribute.KeyValue{semconv.NetworkPeerAddress(a.String())}
	}
}
