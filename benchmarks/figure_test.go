package main

import (
	"encoding/json"
	"math"
	"testing"
)

func TestMedianAndSpread(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for _, c := range []struct {
		values []float64
		median figure
		spread spread
	}{
		{[]float64{3}, 3, spread{3, 3}},
		{[]float64{5, 1, 9}, 5, spread{1, 9}},
		{[]float64{4, 1, 2, 3}, 2.5, spread{1, 4}},
		{[]float64{nan, 7, math.Inf(1)}, 7, spread{7, 7}}, // a round in which nothing ended
	} {
		if m, s := median(c.values), spreadOf(c.values); m != c.median || s != c.spread {
			t.Errorf("%v: %v, %v; want %v, %v", c.values, m, s, c.median, c.spread)
		}
	}
	if m := median(nil); m.known() {
		t.Errorf("the median of nothing is %v", m)
	}
}

func TestFiguresAsText(t *testing.T) {
	t.Parallel()
	for f, want := range map[figure][2]string{
		14321.6:    {"14321.6", "14322"},
		12.34567:   {"12.346", "12.3"},
		9.999:      {"9.999", "10.0"},
		0.4567:     {"0.457", "0.46"},
		0:          {"0", "0.00"},
		1e9:        {"1000000000", "1000000000"},
		infinite(): {"null", "-"},
	} {
		doc, err := json.Marshal(f)
		if err != nil || string(doc) != want[0] || f.String() != want[1] {
			t.Errorf("%v: %s, %s, %v; want %s, %s", float64(f), doc, f, err, want[0], want[1])
		}
	}
	if doc, err := json.Marshal(spreadOf(nil)); err != nil || string(doc) != "[null,null]" {
		t.Errorf("%s, %v", doc, err)
	}
}

func infinite() figure { return figure(math.Inf(1)) }
