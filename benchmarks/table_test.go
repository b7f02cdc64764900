package main

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// sample is a result as it may look: the point select behind the link, three rounds, one statement that failed.
func sample() *Result {
	nan := math.NaN()
	at := func(perSecond float64, peak int) reading {
		return reading{
			throughput: perSecond, p50: 64e3 / perSecond, p99: 70e3 / perSecond, client: 25, server: nan, link: 20,
			offered: nan, lateP99: nan, peak: peak, statements: int(2 * perSecond),
		}
	}
	cell := func(s system) cell {
		return cell{workload: point, link: farther, loop: closed, goroutines: crowd, system: s}
	}
	broken := at(1000, 2)
	broken.errors, broken.firstError = 1, errors.New("reset by peer")
	r := &Result{Rows: []Row{
		newRow(cell(system{lmipool, 2}), []reading{at(12_000, 1), at(14_000, 2), at(13_000, 2)}),
		newRow(cell(system{plain, 2}), []reading{at(1000, 2), at(1300, 2), broken}),
	}}
	r.Ratios = ratios(r.Rows, true)
	return r
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := sample().print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\npoint     1ms   closed 64  lmipool 2  2     13000  12000..14000  4.92    4.57..5.33  5.38    5.00..5.83  25.0    -       20.0\n",
		"\npoint     1ms   closed 64  pgxpool 2  2     1000 ",
		"\npoint 1ms: lmipool 2 / pgxpool 2 throughput = 13.0x  10.8..13.0 (want >= 10)\n",
		"\n! point 1ms closed 64 pgxpool 2: 1 statements failed, one with: reset by peer\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	if !sample().failed() {
		t.Error("a statement failed, the result did not")
	}
}

func TestRatiosOfMediansWithTheRangeOfRounds(t *testing.T) {
	t.Parallel()
	r := sample().Ratios[0]
	// The medians are 13,000 and 1,000. The ratios of the rounds are 12, 10.8 and 13.
	if r.Name != "point 1ms: lmipool 2 / pgxpool 2 throughput" || r.Value != 13 || r.Range.String() != "10.8..13.0" {
		t.Errorf("%+v", r)
	}
	if r.Met == nil || !*r.Met || r.Want != ">= 10" {
		t.Errorf("want %q, met %v; want >= 10, true", r.Want, r.Met)
	}
	for _, r := range ratios(sample().Rows, false) {
		if r.Met != nil {
			t.Errorf("%s has a bound, though none was asked for", r.Name)
		}
	}
	slower := sample().Rows
	slower[0], slower[1] = slower[1], slower[0]
	slower[0].System, slower[1].System = lmipool, plain
	if r := ratios(slower, true)[0]; r.Met == nil || *r.Met {
		t.Errorf("%+v: want >= 10 missed", r)
	}
}
