package pool

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// Switch turns a part of the pool on or off: a field of Config, whose documentation says what Auto means there and what On adds. The zero value is
// Auto.
type Switch string

// The values of a Switch.
const (
	// Auto, or "", leaves it to the pool, which has the part on wherever it is of use.
	Auto Switch = "auto"
	// On is for who relies on the part. Where another setting makes it impossible [New] returns an error that names both, and where that is found out on
	// a connection it is logged; Auto would turn the part off.
	On Switch = "on"
	// Off turns the part off.
	Off Switch = "off"
	// Shadow is for Config.Lanes alone: it tells what lanes would do. Reads that would ride are counted ([LaneStat.ShadowRides]) and run alone.
	Shadow Switch = "shadow"
)

// switchField is a field of Config that is a Switch.
type switchField struct {
	name   string
	value  *Switch
	values []Switch // that are right
}

// switches are c's, each with what is right for it.
func (c *Config) switches() []switchField {
	return []switchField{
		{"Lanes", &c.Lanes, []Switch{Auto, On, Off, Shadow}},
		{"Isolation", &c.Isolation, []Switch{Auto, On, Off}},
		{"Rerun", &c.Rerun, []Switch{Auto, On, Off}},
		{"Plain", &c.Plain, []Switch{Auto, On, Off}},
	}
}

// settle turns off what the other settings make impossible, as far as that is known before a connection is there, and makes of cc what is upstream can
// take. It returns an error for each part that is on and cannot be.
func (c *Config) settle(cc *pgx.ConnConfig) error {
	if c.Upstream.shares() {
		pgdial.ForPooler(cc, c.Upstream == UpstreamRDSProxy, c.Logger)
	}
	if c.Plain == On {
		c.Lanes, c.Isolation, c.Rerun = Off, Off, Off
		return nil
	}
	var errs []error
	because := func(field string, s *Switch, format string, args ...any) {
		if *s == On || *s == Shadow {
			errs = append(errs, fmt.Errorf("lmipool: Config.%s is %q: want %q or %q, since "+format, append([]any{field, *s, Auto, Off}, args...)...))
		}
		*s = Off
	}
	switch mode := cc.DefaultQueryExecMode; {
	case c.PrepareConn != nil:
		because("Lanes", &c.Lanes, "PrepareConn is set, which is to have a say in each statement")
	case !c.ridesWith(mode, false):
		because("Lanes", &c.Lanes, "default_query_exec_mode is %s, which is to have a say in each statement", mode)
	case c.Upstream == UpstreamRDSProxy && c.Lanes == Auto:
		c.Lanes = Off
	}
	switch {
	case c.Upstream.shares():
		because("Isolation", &c.Isolation, "Upstream is %q, which shares its sessions with others", c.Upstream)
	case cc.DefaultQueryExecMode == pgx.QueryExecModeExec:
		if c.Isolation == Auto {
			c.Logger.Warn(execModeIsolation)
		}
		because("Isolation", &c.Isolation, "default_query_exec_mode is exec, in which pgx sends batches past the pool")
	}
	return errors.Join(errs...)
}
