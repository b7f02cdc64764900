package main

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const line = "4711 (postgres: a) b (c) R 4700 4711 4711 0 -1 4194624 1563 0 3 0 12 34 5 6 20 0 1 0 111027 3133440 358 184467\n"
	s, err := parseStat(line)
	if err != nil {
		t.Fatal(err)
	}
	if want := (procStat{parent: 4700, own: 460 * time.Millisecond, waitedFor: 110 * time.Millisecond}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "4711", "4711 (postgres", "4711 (postgres) R 1", "4711 (x) R one 2 3 4 5 6 7 8 9 10 11 12 13 14 15"} {
		if s, err := parseStat(bad); err == nil {
			t.Errorf("%q: %+v, want an error", bad, s)
		}
	}
}

func TestParseSchedstat(t *testing.T) {
	t.Parallel()
	if d, err := parseSchedstat("65907424 26025452 150\n"); err != nil || d != 65907424*time.Nanosecond {
		t.Errorf("%v, %v", d, err)
	}
	if d, err := parseSchedstat("\n"); err == nil {
		t.Errorf("%v, want an error", d)
	}
}
