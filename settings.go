package lmipool

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/connstring"
)

// setting is one field of Config that an operator can override.
type setting struct {
	name  string            // for the log
	env   string            // the variable that overrides everything
	dsn   string            // the connection string's key, if it has one
	field func(*Config) any // *int32, *time.Duration, *bool, *Switch, *LaneMode, *Isolation or *Upstream
	// notZero: 0 in the variable is a mistake. Otherwise it turns the setting off,
	// which Config writes as a negative number because its own 0 is "not set".
	notZero bool
	floor   bool // must not be above MaxConns, which comes first in the list
	not     bool // the variable says the opposite of the field, whose name begins with No
}

// settings is all that LMIPOOL_* variables set. A variable wins over Config, so
// that an operator can always override code; Config wins over the connection
// string, and that over the formula and the defaults.
var settings = []setting{
	{name: "max_conns", env: "LMIPOOL_MAX_CONNS", dsn: "pool_max_conns", field: func(c *Config) any { return &c.MaxConns }, notZero: true},
	{name: "min_conns", env: "LMIPOOL_MIN_CONNS", dsn: "pool_min_conns", field: func(c *Config) any { return &c.MinConns }, floor: true},
	{name: "min_idle_conns", env: "LMIPOOL_MIN_IDLE_CONNS", dsn: "pool_min_idle_conns", field: func(c *Config) any { return &c.MinIdleConns }, floor: true},
	{name: "max_conn_lifetime", env: "LMIPOOL_MAX_CONN_LIFETIME", dsn: "pool_max_conn_lifetime", field: func(c *Config) any { return &c.MaxConnLifetime }},
	{name: "max_conn_lifetime_jitter", env: "LMIPOOL_MAX_CONN_LIFETIME_JITTER", dsn: "pool_max_conn_lifetime_jitter", field: func(c *Config) any { return &c.MaxConnLifetimeJitter }},
	{name: "max_conn_idle_time", env: "LMIPOOL_MAX_CONN_IDLE_TIME", dsn: "pool_max_conn_idle_time", field: func(c *Config) any { return &c.MaxConnIdleTime }},
	{name: "health_check_period", env: "LMIPOOL_HEALTH_CHECK_PERIOD", dsn: "pool_health_check_period", field: func(c *Config) any { return &c.HealthCheckPeriod }, notZero: true},
	{name: "ping_timeout", env: "LMIPOOL_PING_TIMEOUT", dsn: "pool_ping_timeout", field: func(c *Config) any { return &c.PingTimeout }},
	{name: "connect_timeout", env: "LMIPOOL_CONNECT_TIMEOUT", dsn: "connect_timeout", field: func(c *Config) any { return &c.ConnectTimeout }, notZero: true},
	{name: "cancel_wait", env: "LMIPOOL_CANCEL_WAIT", field: func(c *Config) any { return &c.CancelWait }},
	{name: "report_rows_after", env: "LMIPOOL_REPORT_ROWS_AFTER", field: func(c *Config) any { return &c.ReportRowsAfter }},
	{name: "report_idle_tx_after", env: "LMIPOOL_REPORT_IDLE_TX_AFTER", field: func(c *Config) any { return &c.ReportIdleTxAfter }},
	{name: "lanes", env: "LMIPOOL_LANES", field: func(c *Config) any { return &c.Lanes }},
	{name: "isolation", env: "LMIPOOL_ISOLATION", field: func(c *Config) any { return &c.Isolation }},
	{name: "upstream", env: "LMIPOOL_UPSTREAM", field: func(c *Config) any { return &c.Upstream }},
	{name: "rerun", env: "LMIPOOL_RERUN", field: func(c *Config) any { return &c.NoRerun }, not: true},
	{name: "stand_in", env: "LMIPOOL_STANDIN", field: func(c *Config) any { return &c.StandIn }},
	{name: "panic", env: "LMIPOOL_PANIC", field: func(c *Config) any { return &c.CatchPanics }},
	{name: "margin", env: "LMIPOOL_MARGIN", field: func(c *Config) any { return &c.Margin }, notZero: true},
	{name: "reply_margin", env: "LMIPOOL_REPLY_MARGIN", field: func(c *Config) any { return &c.ReplyMargin }, notZero: true},
	{name: "max_overruns", env: "LMIPOOL_MAX_OVERRUNS", field: func(c *Config) any { return &c.MaxOverruns }, notZero: true},
	{name: "max_panics", env: "LMIPOOL_MAX_PANICS", field: func(c *Config) any { return &c.MaxPanics }, notZero: true},
	{name: "plain", env: "LMIPOOL_PLAIN", field: func(c *Config) any { return &c.Plain }},
}

// forTests are variables of our test suite, which are no mistake either.
var forTests = []string{"LMIPOOL_TEST_DSN", "LMIPOOL_TEST_PG", "LMIPOOL_TEST_MATRIX", "LMIPOOL_TEST_PROGRAMS", "LMIPOOL_TEST_SEED", "LMIPOOL_TEST_PRESSURE", "LMIPOOL_TEST_FAULTS", "LMIPOOL_TEST_FAILOVER", "LMIPOOL_TEST_POOLER", "LMIPOOL_PG_BIN"}

// chosen is one setting's value and who set it.
type chosen struct {
	name, value, by string
}

// resolve overrides c with the environment, gives MaxConns the formula's value if
// nobody set it, and says who set each value. All faults are reported at once.
func (c *Config) resolve(lookup func(string) (string, bool), dsn *pgx.ConnConfig, formula int32) ([]chosen, error) {
	var log []chosen
	var errs []error
	codes := false // MaxConns is the code's own
	for _, s := range settings {
		field := s.field(c)
		by := "default"
		variable, set := lookup(s.env)
		if _, limit := field.(*int32); limit && set && variable == "" {
			c.Logger.Warn("lmipool: an empty variable, which counts as not set", "variable", s.env)
		}
		switch {
		case variable != "":
			by = s.env
			if err := s.parse(field, variable); err != nil {
				errs = append(errs, fmt.Errorf("lmipool: %s is %q: want %w", s.env, variable, err))
			}
		case !isZero(field):
			by = "Config"
			codes = codes || s.name == "max_conns"
		case s.inConnString(dsn):
			by = "connection string"
		case s.env == "LMIPOOL_MAX_CONNS" && formula > 0:
			by = "formula"
			c.MaxConns = formula
		}
		value := ""
		if !isZero(field) || by == s.env {
			value = s.show(field)
		} else if s.dsn != "" {
			value = dsn.RuntimeParams[s.dsn]
		}
		if s.floor && !codes && c.cutFloor(field, value) {
			value, by = s.show(field), by+", cut to max_conns"
		}
		log = append(log, chosen{s.name, value, by})
	}
	return log, errors.Join(errs...)
}

// cutFloor lowers MinConns or MinIdleConns to a MaxConns that code did not choose:
// an operator's lower ceiling, or the formula's, must not become an outage. A Config
// that contradicts itself stays a fault.
func (c *Config) cutFloor(field any, value string) bool {
	n, err := strconv.Atoi(value)
	if err != nil || c.MaxConns < 1 || n <= int(c.MaxConns) {
		return false
	}
	*field.(*int32) = c.MaxConns
	return true
}

// validate reports every fault of what is Handler's; pool.New does the rest.
func (c *Config) validate() error {
	var errs []error
	fault := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("lmipool: Config.%s is %v: want %s", field, value, want))
	}
	for _, s := range []struct {
		field string
		value Switch
	}{{"StandIn", c.StandIn}, {"CatchPanics", c.CatchPanics}} {
		if s.value < Auto || s.value > Off {
			fault(s.field, int(s.value), "Auto, On or Off")
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

func (s setting) inConnString(dsn *pgx.ConnConfig) bool {
	if s.dsn == "connect_timeout" { // pgx has taken it out of RuntimeParams
		return dsn.ConnectTimeout > 0
	}
	_, ok := dsn.RuntimeParams[s.dsn]
	return ok
}

// parse sets field to value. Its error says what would be right.
func (s setting) parse(field any, value string) error {
	switch f := field.(type) {
	case *int32:
		n, err := strconv.ParseInt(value, 10, 32)
		switch {
		case err != nil || n < 0 || n == 0 && s.notZero:
			if s.notZero {
				return errors.New("a whole number, 1 or more")
			}
			return errors.New("a whole number, 0 or more")
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
	case *bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New(`"1" or "0"`)
		}
		*f = b != s.not
	case *LaneMode:
		switch m := LaneMode(value); m {
		case LanesAuto, LanesShadow, LanesOff:
			*f = m
		default:
			return fmt.Errorf("%q, %q or %q", LanesAuto, LanesShadow, LanesOff)
		}
	case *Isolation:
		switch m := Isolation(value); m {
		case IsolationAuto, IsolationOff:
			*f = m
		default:
			return fmt.Errorf("%q or %q", IsolationAuto, IsolationOff)
		}
	case *Upstream:
		switch u := Upstream(value); u {
		case UpstreamAuto, UpstreamDirect, UpstreamRDSProxy, UpstreamPgBouncer:
			*f = u
		default:
			return fmt.Errorf("%q, %q, %q or %q", UpstreamAuto, UpstreamDirect, UpstreamRDSProxy, UpstreamPgBouncer)
		}
	case *Switch:
		on, off := s.words()
		switch value {
		case on:
			*f = On
		case off:
			*f = Off
		default:
			return fmt.Errorf("%q or %q", on, off)
		}
	}
	return nil
}

// words are the values of a Switch's variable.
func (s setting) words() (on, off string) {
	if s.env == "LMIPOOL_PANIC" {
		return "reply", "exit"
	}
	return "1", "0"
}

func isZero(field any) bool {
	switch f := field.(type) {
	case *int32:
		return *f == 0
	case *time.Duration:
		return *f == 0
	case *bool:
		return !*f
	case *LaneMode:
		return *f == ""
	case *Isolation:
		return *f == ""
	case *Upstream:
		return *f == ""
	case *Switch:
		return *f == Auto
	}
	return true
}

func (s setting) show(field any) string {
	switch f := field.(type) {
	case *int32:
		return strconv.Itoa(int(max(0, *f)))
	case *time.Duration:
		if *f < 0 {
			return "off"
		}
		return f.String()
	case *bool:
		return strconv.FormatBool(*f != s.not)
	case *LaneMode:
		return string(*f)
	case *Isolation:
		return string(*f)
	case *Upstream:
		return string(*f)
	case *Switch:
		if *f == On {
			return "on"
		}
		return "off"
	}
	return ""
}

// warnOfUnknown logs every LMIPOOL_ variable that nothing reads, with the name
// that was probably meant: a switch that does nothing is found out too late.
func warnOfUnknown(environ []string, log *slog.Logger) {
	known := append([]string(nil), forTests...)
	for _, s := range settings {
		known = append(known, s.env)
	}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "LMIPOOL_") {
			continue
		}
		if nearest, far := connstring.Nearest(name, known); far > 0 {
			log.Warn("lmipool: unknown variable, which nothing reads", "variable", name, "nearest", nearest)
		}
	}
}
