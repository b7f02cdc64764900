package main

import (
	"strings"
	"testing"
)

func TestTableShowsEachSystemErrorsAndWhatWasPublished(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := writeTable(&b, sampleResult()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n  default-lambda        100          100     100",
		"\n  pgbouncer               -            -       -",
		"\n  ! pgbouncer: no pgbouncer here; apt-get install pgbouncer",
		"\n  ! pgxpool: 3 of 1000 requests failed",
		"not measured here (hold 5 s, ab -c 100 -n 1000, on AWS)",
		"\n  LMI + PgBouncer as an extension                        64           22  46 of 1000",
		"select now(), hold 500 ms, select now()",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, b.String())
		}
	}
}
