package lmipool

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lmipool/lmipool/internal/connstring"
)

// setting is a field of Config that an operator can override by an environment variable: LMIPOOL_ and the field's name in upper snake case.
type setting struct {
	field string
	dsn   string // the connection string's key, if it has one
	// notZero means that 0 in the variable is an error. Otherwise 0 turns the setting off; in Config a negative number does that, since 0 means "not
	// set" there.
	notZero bool
	floor   bool // the value must not be above MaxConns, which comes first in the list
}

// settings has every setting that an LMIPOOL_* variable sets. A variable wins over Config, so that an operator can override code. Config wins over
// the connection string, which wins over the formula and the defaults.
var settings = []setting{
	{field: "MaxConns", dsn: "pool_max_conns", notZero: true},
	{field: "MinConns", dsn: "pool_min_conns", floor: true},
	{field: "MinIdleConns", dsn: "pool_min_idle_conns", floor: true},
	{field: "FleetBudget"},
	{field: "MaxConnLifetime", dsn: "pool_max_conn_lifetime"},
	{field: "MaxConnLifetimeJitter", dsn: "pool_max_conn_lifetime_jitter"},
	{field: "MaxConnIdleTime", dsn: "pool_max_conn_idle_time"},
	{field: "HealthCheckPeriod", dsn: "pool_health_check_period", notZero: true},
	{field: "PingTimeout", dsn: "pool_ping_timeout"},
	{field: "ConnectTimeout", dsn: "connect_timeout", notZero: true},
	{field: "MaxWait"},
	{field: "MaxQueue"},
	{field: "CancelWait"},
	{field: "ReportRowsAfter"},
	{field: "ReportIdleTxAfter"},
	{field: "ReportSlowAfter"},
	{field: "Lanes"},
	{field: "Isolation"},
	{field: "Upstream"},
	{field: "Rerun"},
	{field: "StandIn"},
	{field: "CatchPanics"},
	{field: "Margin", notZero: true},
	{field: "ReplyMargin", notZero: true},
	{field: "MaxOverruns", notZero: true},
	{field: "MaxPanics", notZero: true},
	{field: "Plain"},
}

// name returns the name of s in the log, which is the field's name in snake case.
func (s setting) name() string {
	var b strings.Builder
	for i, r := range s.field {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// variable returns the name of the variable that overrides s.
func (s setting) variable() string { return "LMIPOOL_" + strings.ToUpper(s.name()) }

// of returns a pointer to the field of c that s sets: an *int32, *time.Duration, *Switch or *Upstream.
func (s setting) of(c *Config) any {
	return reflect.ValueOf(c).Elem().FieldByName(s.field).Addr().Interface()
}

// earlier has the variables of earlier versions that are not read any more, and for each what to write instead.
var earlier = map[string]string{
	"LMIPOOL_STANDIN": `LMIPOOL_STAND_IN, "on" or "off"`,
	"LMIPOOL_PANIC":   `LMIPOOL_CATCH_PANICS, "on" for "reply" or "off" for "exit"`,
}

// forTests has the variables of lmipool's own tests, which warnOfUnknown must not warn about.
var forTests = []string{"LMIPOOL_TEST_DSN", "LMIPOOL_TEST_PG", "LMIPOOL_TEST_MATRIX", "LMIPOOL_TEST_PROGRAMS", "LMIPOOL_TEST_SEED", "LMIPOOL_TEST_FAULTS", "LMIPOOL_TEST_FAILOVER", "LMIPOOL_TEST_FLEET", "LMIPOOL_TEST_POOLER", "LMIPOOL_PG_BIN"}

// chosen is a setting with its value and the source that set it.
type chosen struct {
	setting
	value, by string
}

// resolve overrides c with the variables, gives MaxConns the formula's value if nothing sets it, and returns each setting's value and source. Its
// error joins all faults.
func (c *Config) resolve(lookup func(string) (string, bool), given func(setting) (value, by string), formula int32) ([]chosen, error) {
	var log []chosen
	var errs []error
	codes := false // MaxConns is set in Config
	for _, name := range slices.Sorted(maps.Keys(earlier)) {
		if value, _ := lookup(name); value != "" {
			errs = append(errs, fmt.Errorf("lmipool: %s is %q, and is not read any more: set %s", name, value, earlier[name]))
		}
	}
	for _, s := range settings {
		field := s.of(c)
		value, by := given(s)
		variable, set := lookup(s.variable())
		if _, limit := field.(*int32); limit && set && variable == "" {
			c.Logger.Warn("lmipool: an empty variable, which counts as not set", "variable", s.variable())
		}
		switch {
		case variable != "":
			by = s.variable()
			if err := s.parse(field, variable); err != nil {
				errs = append(errs, fmt.Errorf("lmipool: %s is %q: want %w", by, variable, err))
			}
		case !isZero(field):
			by = "Config"
			codes = codes || s.field == "MaxConns"
		case by != "":
		case s.field == "MaxConns" && formula > 0:
			by = "formula"
			c.MaxConns = formula
		default:
			by = "default"
		}
		if !isZero(field) || variable != "" {
			value = s.show(field)
		}
		if s.floor && !codes && c.cutFloor(field, value) {
			value, by = s.show(field), by+", cut to max_conns"
		}
		log = append(log, chosen{s, value, by})
	}
	c.yield(log)
	return log, errors.Join(errs...)
}

// yield turns off each switch that the code has set to On, and its FleetBudget, if a variable has made that impossible, so that an operator can override
// code.
func (c *Config) yield(log []chosen) {
	by := make(map[string]string)
	for _, s := range log {
		by[s.field] = s.by
	}
	for i, s := range log {
		if s.field == "FleetBudget" && s.by == "Config" && c.FleetBudget > 0 && c.Plain == On && by["Plain"] != "Config" {
			c.FleetBudget, log[i].by = -1, by["Plain"]
			continue
		}
		is, ok := s.of(c).(*Switch)
		switch {
		case !ok || s.by != "Config" || *is != On && *is != Shadow:
			continue
		case c.Plain == On && by["Plain"] != "Config":
			log[i].by = by["Plain"]
		case s.field == "Rerun" && c.Lanes == Off && by["Lanes"] != "Config":
			log[i].by = by["Lanes"]
		default:
			continue
		}
		*is, log[i].value = Off, string(Off)
	}
}

// cutFloor lowers MinConns or MinIdleConns to MaxConns. It is called if the code has not set MaxConns, since a lower MaxConns of the operator or of
// the formula must not make Open fail. If Config sets both fields and they contradict each other, Open fails.
func (c *Config) cutFloor(field any, value string) bool {
	n, err := strconv.Atoi(value)
	if err != nil || c.MaxConns < 1 || n <= int(c.MaxConns) {
		return false
	}
	*field.(*int32) = c.MaxConns
	return true
}

// validate returns all faults of the fields that concern Handler in one error; pool.New checks the other fields. log says who set each field.
func (c *Config) validate(log []chosen) error {
	var errs []error
	fault := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("lmipool: Config.%s is %v: want %s", field, value, want))
	}
	for _, s := range []struct {
		field string
		value Switch
		calls string // the hook that is called only if the switch is on
		set   bool   // the hook is set
	}{{"StandIn", c.StandIn, "OnOverrun", c.OnOverrun != nil}, {"CatchPanics", c.CatchPanics, "OnPanic", c.OnPanic != nil}} {
		if !slices.Contains([]Switch{"", Auto, On, Off}, s.value) {
			fault(s.field, fmt.Sprintf("%q", s.value), `"auto", "on" or "off"`)
		} else if s.value == On && c.Plain == On {
			fault(s.field, `"on"`, `"auto" or "off", since Plain is "on", which turns off all that lmipool adds`)
		} else if s.value == Off && s.set && slices.ContainsFunc(log, func(l chosen) bool { return l.field == s.field && l.by == "Config" }) {
			fault(s.field, `"off"`, `"auto" or "on", since `+s.calls+" is set, which would never be called")
		}
	}
	if c.Margin < 0 {
		fault("Margin", c.Margin, "a positive duration, or 0 for the default")
	}
	switch {
	case c.ReplyMargin < 0:
		fault("ReplyMargin", c.ReplyMargin, "a positive duration, or 0 for the default")
	case c.ReplyMargin > c.Margin && c.Margin > 0:
		fault("ReplyMargin", c.ReplyMargin, fmt.Sprintf("at most Margin, %s", c.Margin))
	}
	if c.MaxOverruns < 0 {
		fault("MaxOverruns", c.MaxOverruns, "1 or more, or 0 for the default")
	}
	if c.MaxPanics < 0 {
		fault("MaxPanics", c.MaxPanics, "1 or more, or 0 for the default")
	}
	return errors.Join(errs...)
}

// parse sets field to value. Its error says which values are right.
func (s setting) parse(field any, value string) error {
	switch f := field.(type) {
	case *int32:
		n, err := strconv.ParseInt(value, 10, 32)
		switch {
		case err != nil || n < 0 || n == 0 && s.notZero:
			least := 0
			if s.notZero {
				least = 1
			}
			return fmt.Errorf(`a whole number from %d to %d, such as "8"`, least, math.MaxInt32)
		case n == 0:
			n = -1
		}
		*f = int32(n)
	case *time.Duration:
		d, err := time.ParseDuration(value)
		switch {
		case err != nil || d < 0 || d == 0 && s.notZero:
			if s.notZero {
				return errors.New(`a positive duration with its unit, such as "30s"`)
			}
			return errors.New(`a duration with its unit, such as "30s", or "0" for none`)
		case d == 0:
			d = -1
		}
		*f = d
	case *Switch: // validate or pool.New checks it
		*f = Switch(value)
	case *Upstream: // pool.New checks it
		*f = Upstream(value)
	}
	return nil
}

func isZero(field any) bool { return reflect.ValueOf(field).Elem().IsZero() }

func (s setting) show(field any) string {
	switch f := field.(type) {
	case *int32:
		return strconv.Itoa(int(max(0, *f)))
	case *time.Duration:
		if *f < 0 {
			return "off"
		}
		return f.String()
	}
	return reflect.ValueOf(field).Elem().String() // a Switch or an Upstream
}

// warnOfUnknown logs every LMIPOOL_ variable that is not read, with the name that was probably meant. Otherwise nobody would notice that a misspelled
// variable has no effect.
func warnOfUnknown(environ []string, log *slog.Logger) {
	known := append([]string{statusSocket}, forTests...)
	for _, s := range settings {
		known = append(known, s.variable())
	}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, said := earlier[name]; said || !strings.HasPrefix(name, "LMIPOOL_") {
			continue
		}
		if nearest, far := connstring.Nearest(name, known); far > 0 {
			log.Warn("lmipool: unknown variable, which nothing reads", "variable", name, "nearest", nearest)
		}
	}
}

// statusSocket is the variable that names the Unix socket on which a pool serves what a status page shows. Package status and lmirun read it there, so
// that a handler needs neither a web server nor html/template.
const statusSocket = "LMIPOOL_STATUS_SOCKET"
