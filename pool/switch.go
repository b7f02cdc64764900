package pool

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// Switch turns a part of the pool on or off. It is the type of fields of Config, whose documentation says what Auto means. The zero value means Auto.
type Switch string

// The values of a Switch.
const (
	// Auto, or "", lets the pool decide: the part is on where it is of use and possible.
	Auto Switch = "auto"
	// On is for code that relies on the part. If another setting makes the part impossible, [New] returns an error that names both settings, where
	// Auto would turn the part off. If only a connection shows that the part is impossible, that is logged.
	On Switch = "on"
	// Off turns the part off.
	Off Switch = "off"
	// Shadow is for Config.Lanes only, to find out what lanes would do: reads that would ride are counted ([LaneStat.ShadowRides]) and run alone.
	Shadow Switch = "shadow"
)

// switchField is a field of Config that is a Switch.
type switchField struct {
	name   string
	value  *Switch
	values []Switch // the values that are allowed
}

// switches returns the Switch fields of c, each with the values that it may have.
func (c *Config) switches() []switchField {
	return []switchField{
		{"Lanes", &c.Lanes, []Switch{Auto, On, Off, Shadow}},
		{"Isolation", &c.Isolation, []Switch{Auto, On, Off}},
		{"Rerun", &c.Rerun, []Switch{Auto, On, Off}},
		{"Plain", &c.Plain, []Switch{Auto, On, Off}},
	}
}

// settle turns off the parts that other settings make impossible, as far as that is known before the first connection, and adapts cc to a pooler
// upstream. It returns an error for each such part that is On or Shadow.
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
		because("Lanes", &c.Lanes, "PrepareConn is set, which must run before each statement, and rides share a connection")
	case !c.ridesWith(mode, false):
		because("Lanes", &c.Lanes, "default_query_exec_mode is %s, in which a ride's answer may differ from pgx's", mode)
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
