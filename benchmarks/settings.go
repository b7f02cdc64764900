package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lmipool/lmipool/internal/lane"
)

// revision is the revision that this program was built from. The Makefile sets it, since Go's own stamp is often turned off.
var revision = "unknown"

// Settings has what a reader needs to judge or repeat the run.
type Settings struct {
	Started     string   `json:"started"`
	Command     string   `json:"command"`
	Short       bool     `json:"short"`
	Rounds      int      `json:"rounds"`
	Warmup      string   `json:"warmup"`
	Duration    string   `json:"duration"`
	Lanes       string   `json:"lanes"`
	FlightCap   int      `json:"flight_cap"` // at most so many reads ride together
	LoadAverage string   `json:"load_average_before"`
	Commit      string   `json:"git_commit"`
	Go          string   `json:"go"`
	Pgx         string   `json:"pgx"`
	CPUs        int      `json:"cpus"`
	GOMAXPROCS  int      `json:"gomaxprocs"`
	Platform    string   `json:"platform"`
	Link        string   `json:"link"`
	PostgreSQL  string   `json:"postgresql"`
	Server      settings `json:"postgresql_settings"`
	Durable     settings `json:"postgresql_durable_settings,omitempty"`
	WriteTime   figure   `json:"durable_write_ms"` // the time of one small durable write when nothing else runs, which shows how fast the disk is
}

// settings are those of a PostgreSQL server.
type settings map[string]string

func (s settings) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		all = append(all, name+"="+s[name])
	}
	return strings.Join(all, " ")
}

// newSettings returns the settings that are known before a server has started.
func newSettings(o options, now time.Time) Settings {
	return Settings{
		Started:     now.Format(time.RFC3339),
		Command:     o.command,
		Short:       o.short,
		Rounds:      o.rounds,
		Warmup:      o.timing.warmup.String(),
		Duration:    o.timing.duration.String(),
		Lanes:       string(o.lanes),
		FlightCap:   lane.MaxFlight,
		LoadAverage: loadAverage(),
		Commit:      revision,
		Go:          runtime.Version(),
		Pgx:         moduleVersion("github.com/jackc/pgx/v5"),
		CPUs:        runtime.NumCPU(),
		GOMAXPROCS:  runtime.GOMAXPROCS(0),
		Platform:    runtime.GOOS + "/" + runtime.GOARCH,
		Link:        fmt.Sprintf("a proxy in a process of its own adds %v to each round trip, for all connections alike", roundTrip),
		WriteTime:   median(nil),
	}
}

// ofServers adds the servers' versions and settings.
func (s *Settings) ofServers(ctx context.Context, l *lab) (err error) {
	if s.PostgreSQL, s.Server, err = l.fast.version(ctx); err != nil {
		return err
	}
	if l.durable == nil {
		return nil
	}
	if _, s.Durable, err = l.durable.version(ctx); err != nil {
		return err
	}
	s.WriteTime, err = l.durable.writeTime(ctx)
	return err
}

// print writes the settings as a table, each line behind indent, without the line called but.
func (s *Settings) print(w io.Writer, indent, but string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range s.lines() {
		if l[0] != but {
			fmt.Fprintf(t, "%s%s\t%s\n", indent, l[0], l[1])
		}
	}
	t.Flush()
}

// lines returns the settings for the table, in the order in which they are shown.
func (s *Settings) lines() [][2]string {
	lines := [][2]string{
		{"started", s.Started + ", load average before: " + s.LoadAverage},
		{"again with", s.Command},
		{"rounds", fmt.Sprintf("%d, each measurement %s after a warm-up of %s", s.Rounds, s.Duration, s.Warmup)},
		{"lmipool", fmt.Sprintf("lanes %s, at most %d reads in a flight", s.Lanes, s.FlightCap)},
		{"machine", fmt.Sprintf("%d CPUs, GOMAXPROCS %d, %s; client, server and link share it", s.CPUs, s.GOMAXPROCS, s.Platform)},
		{"versions", fmt.Sprintf("%s, pgx %s, PostgreSQL %s, commit %s", s.Go, s.Pgx, s.PostgreSQL, s.Commit)},
		{"1ms", s.Link},
		{"server", s.Server.String()},
	}
	if s.Durable != nil {
		lines = append(lines, [2]string{"durable server", s.Durable.String()},
			[2]string{"", fmt.Sprintf("one durable write alone takes it %v ms", s.WriteTime)})
	}
	return lines
}

// loadAverage returns the machine's load averages of 1, 5 and 15 minutes, which show what else the machine did.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

// moduleVersion returns the version of the dependency path with which this binary was built.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return d.Version
			}
		}
	}
	return "unknown"
}
