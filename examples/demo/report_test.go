package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

func TestReportIsWellFormedAndNeedsNothingElse(t *testing.T) {
	t.Parallel()
	page, err := render(sampleResult())
	if err != nil {
		t.Fatal(err)
	}
	// The template is written as XML too, so that a strict parser can check it.
	charts := 0
	for d := xml.NewDecoder(bytes.NewReader(page)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, _ := d.InputPos()
			t.Fatalf("line %d: %v", line, err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "svg" {
			charts++
		}
	}
	if charts != 4 {
		t.Errorf("%d charts, want 4: one for each system that ran", charts)
	}
	for _, bad := range []string{"<script", "src=", "href=", "url(", "@import", "http:", "https:", "ZgotmplZ", "NaN", "Inf"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the report contains %q", bad)
		}
	}
}

func TestReportSaysWhatHappened(t *testing.T) {
	t.Parallel()
	r := sampleResult()
	b, err := render(r)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, s := range r.Systems {
		if n := strings.Count(page, ">"+s.Name+"<"); n != 3 {
			t.Errorf("%s is in the report %d times, want 3: bar, curves and row", s.Name, n)
		}
	}
	for _, want := range []string{
		"<h1>64 invocations in flight, 4 database connections</h1>",
		"100 with default-lambda, 64 with per-invocation and 64 with pgxpool.",
		"lmipool over 8.0 seconds: at most 64 invocations in flight and 4 database connections.",
		"did not run: no pgbouncer here",
		"&#34;&lt;b&gt;&amp;&#39;", // an error is text, never markup
		"Published, not measured here:",
		"cd examples &amp;&amp; go run ./demo",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func TestHeadlineWithoutLmipool(t *testing.T) {
	t.Parallel()
	r := sampleResult()
	r.Systems = r.Systems[:4]
	if got, want := headline(r), "From 64 to 100 database connections for the same load"; got != want {
		t.Errorf("headline %q, want %q", got, want)
	}
	r.Systems = r.Systems[2:3]
	if got, want := headline(r), "No system completed a request"; got != want {
		t.Errorf("headline %q, want %q", got, want)
	}
	if _, err := render(r); err != nil {
		t.Errorf("a report of failures only: %v", err)
	}
}

func TestChartsShareScalesFromZero(t *testing.T) {
	t.Parallel()
	r := sampleResult()
	s := newScale(r.Systems)
	if s.level != 100 || s.yticks[0] != 0 || s.xticks[0] != 0 {
		t.Errorf("scale to %d with ticks %v, %v; want 100 and both from zero", s.level, s.yticks, s.xticks)
	}
	path := s.line(r.Systems[4].curves.InFlight, sampleEvery)
	if want := regexp.MustCompile(`^M34\.0 [\d.]+H[\d.]+$`); !want.MatchString(path) {
		t.Errorf("a level of 64 all the time is drawn as %s, want one horizontal line", path)
	}
}
