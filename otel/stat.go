package lmiotel

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/pool"
)

// Pool is what Watch reads: a *lmipool.Pool or a *pool.Pool.
type Pool interface{ Stat() *pool.Stat }

// minIdleConns returns the setting of that name.
func minIdleConns(db Pool) int64 {
	switch db := db.(type) {
	case interface{ Config() *lmipool.Config }:
		return int64(max(0, db.Config().MinIdleConns))
	case interface{ Config() *pool.Config }:
		return int64(max(0, db.Config().MinIdleConns))
	}
	return 0
}

// Watch has the meter read db's Stat whenever metrics are collected, until what Watch returns is unregistered. A second call of Watch watches another pool in
// place of the first: the SDK would add their numbers up.
func (t *Telemetry) Watch(db Pool) (metric.Registration, error) {
	if t == nil || t.meter == nil || isNil(db) {
		return nil, errors.New("lmiotel: Watch: the pool is nil, or the Telemetry is nil or not from New")
	}
	var errs [10]error
	count, err := dbconv.NewClientConnectionCountObservable(t.meter)
	errs[0] = err
	idleMax, err := dbconv.NewClientConnectionIdleMaxObservable(t.meter)
	errs[1] = err
	idleMin, err := dbconv.NewClientConnectionIdleMinObservable(t.meter)
	errs[2] = err
	most, err := dbconv.NewClientConnectionMaxObservable(t.meter)
	errs[3] = err
	pending, err := dbconv.NewClientConnectionPendingRequestsObservable(t.meter)
	errs[4] = err
	limit, err := t.meter.Int64ObservableUpDownCounter("lmipool.limit", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections that the pool may have now."))
	errs[5] = err
	flights, err := t.meter.Int64ObservableCounter("lmipool.flights", metric.WithUnit("{flight}"),
		metric.WithDescription("Pipelines of reads that shared a connection."))
	errs[6] = err
	rides, err := t.meter.Int64ObservableCounter("lmipool.rides", metric.WithUnit("{statement}"), metric.WithDescription("Reads that shared a connection."))
	errs[8] = err
	alone, err := t.meter.Int64ObservableCounter("lmipool.alone", metric.WithUnit("{statement}"),
		metric.WithDescription("Statements that waited for a connection and did not share one, by reason."))
	errs[9] = err
	share, err := t.meter.Int64ObservableUpDownCounter("lmipool.fleet.share", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections of the fleet's budget that this environment may have."))
	errs[7] = err
	environments, err := t.meter.Int64ObservableUpDownCounter("lmipool.fleet.environments", metric.WithUnit("{environment}"),
		metric.WithDescription("Environments that share the fleet's budget, as this one has counted them."))
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return nil, fmt.Errorf("lmiotel: %w", err)
	}
	least := minIdleConns(db)
	all := metric.WithAttributeSet(t.poolAttrs)
	idle := metric.WithAttributeSet(attribute.NewSet(append(t.poolAttrs.ToSlice(), count.AttrClientConnectionState(dbconv.ClientConnectionStateIdle))...))
	used := metric.WithAttributeSet(attribute.NewSet(append(t.poolAttrs.ToSlice(), count.AttrClientConnectionState(dbconv.ClientConnectionStateUsed))...))
	read := func(_ context.Context, o metric.Observer) error {
		s := db.Stat()
		o.ObserveInt64(count.Inst(), int64(s.IdleConns()), idle)
		o.ObserveInt64(count.Inst(), int64(s.AcquiredConns()), used)
		o.ObserveInt64(idleMax.Inst(), int64(s.MaxConns()), all)
		o.ObserveInt64(idleMin.Inst(), least, all)
		o.ObserveInt64(most.Inst(), int64(s.MaxConns()), all)
		o.ObserveInt64(pending.Inst(), int64(s.Queued()), all)
		o.ObserveInt64(limit, int64(s.Limit()), all)
		lanes := s.Lanes()
		o.ObserveInt64(flights, lanes.Flights, all)
		o.ObserveInt64(rides, lanes.Rides, all)
		for why, n := range lanes.Alone {
			o.ObserveInt64(alone, n, t.sets.reason(why).(metric.ObserveOption))
		}
		if f := s.Fleet(); f.Budget > 0 {
			o.ObserveInt64(share, int64(f.Share), all)
			o.ObserveInt64(environments, int64(f.Environments), all)
		}
		return nil
	}
	reg, err := t.meter.RegisterCallback(read, count.Inst(), idleMax.Inst(), idleMin.Inst(), most.Inst(), pending.Inst(), limit, flights, rides, alone, share, environments)
	if err != nil {
		return nil, fmt.Errorf("lmiotel: %w", err)
	}
	if was := t.watched.Swap(&reg); was != nil {
		_ = (*was).Unregister() // the SDK returns nil
	}
	return reg, nil
}
