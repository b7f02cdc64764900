package main

import (
	"regexp"
	"testing"
)

func TestNamesAreUniqueAndClaimsHaveTheirCells(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	var rows []Row
	for _, g := range groups() {
		for _, c := range g.all() {
			if names[c.name()] {
				t.Errorf("two cells are %s", c.name())
			}
			names[c.name()] = true
			rows = append(rows, newRow(c, []reading{{throughput: 1, p50: 1, p99: 1, client: 1, server: 1}}))
		}
	}
	if got := ratios(rows, true); len(got) != len(claims()) {
		t.Errorf("%d ratios from %d claims: some lack a cell", len(got), len(claims()))
	}
}

func TestSelected(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]int{
		"":                   50, // with those of database/sql
		"^point/1ms/closed":  6,
		"^slow/1ms/open":     3, // with the cell that finds their rate
		"^slow/1ms/closed":   1,
		"^durable/.*lmipool": 2,
		"nothing":            0,
	} {
		n := 0
		for _, g := range selected(regexp.MustCompile(pattern)) {
			n += len(g.all())
		}
		if n != want {
			t.Errorf("%q: %d cells, want %d", pattern, n, want)
		}
	}
}

func TestSystemsTakeTurns(t *testing.T) {
	t.Parallel()
	g := groups()[0]
	first := map[string]int{}
	for round := range 6 {
		turn := g.turn(round)
		if len(turn) != len(g.cells) {
			t.Fatalf("round %d measures %d cells, want %d", round, len(turn), len(g.cells))
		}
		first[turn[0].name()]++
	}
	for _, c := range g.cells {
		if first[c.name()] != 2 {
			t.Errorf("%s was first in %d of 6 rounds, want 2", c.name(), first[c.name()])
		}
	}
}
