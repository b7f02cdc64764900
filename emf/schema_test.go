package emf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// schema is the part of JSON Schema that AWS's uses.
type schema struct {
	Type                 string
	Required             []string
	Properties           map[string]*schema
	Items                *schema
	MinItems, MaxItems   *int
	MinLength, MaxLength *int
	Pattern              string
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	text, err := os.ReadFile("testdata/schema.json")
	require.NoError(t, err)
	// A word of the schema that check does not know would not be checked.
	known := regexp.MustCompile(`^(\$id|title|examples|type|required|properties|items|minItems|maxItems|minLength|maxLength|pattern)$`)
	for _, m := range regexp.MustCompile(`"(\$?[a-z][A-Za-z]*)": `).FindAllSubmatch(text, -1) {
		require.Regexp(t, known, string(m[1]))
	}
	s := &schema{}
	require.NoError(t, json.Unmarshal(text, s))
	return s
}

// check returns what is wrong with v, which is at the path at.
func (s *schema) check(at string, v any) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			fault("an object: want %s", s.Type)
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				fault("no %s", name)
			}
		}
		for name, of := range s.Properties {
			if member, ok := v[name]; ok {
				faults = append(faults, of.check(at+"/"+name, member)...)
			}
		}
	case []any:
		if s.Type != "array" {
			fault("an array: want %s", s.Type)
		}
		if s.MinItems != nil && len(v) < *s.MinItems || s.MaxItems != nil && len(v) > *s.MaxItems {
			fault("%d items", len(v))
		}
		for i, item := range v {
			if s.Items != nil {
				faults = append(faults, s.Items.check(fmt.Sprint(at, "/", i), item)...)
			}
		}
	case string:
		if s.Type != "string" {
			fault("a string: want %s", s.Type)
		}
		if n := utf8.RuneCountInString(v); s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			fault("%d characters", n)
		}
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			fault("%q: want %s", v, s.Pattern)
		}
	case json.Number:
		if _, err := v.Int64(); s.Type != "number" && (s.Type != "integer" || err != nil) {
			fault("%s: want %s", v, s.Type)
		}
	default:
		fault("a %T: want %s", v, s.Type)
	}
	return faults
}

// parse reads one line, with its numbers as they are written.
func parse(t *testing.T, line []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var v map[string]any
	require.NoError(t, d.Decode(&v), "%s", line)
	require.False(t, d.More(), "one object in one line: %s", line)
	return v
}

// faults returns what is wrong with a line: by the schema, and by the rules of the specification that the schema does not have.
func faults(t *testing.T, s *schema, text []byte) (all []string) {
	t.Helper()
	line := parse(t, text)
	all = s.check("", line)
	if len(text) > 1<<20 {
		all = append(all, fmt.Sprintf("%d bytes", len(text)))
	}
	aws, _ := line["_aws"].(map[string]any)
	directives, _ := aws["CloudWatchMetrics"].([]any)
	if len(directives) == 0 {
		all = append(all, "no directive")
	}
	for _, d := range directives {
		d, _ := d.(map[string]any)
		metrics, _ := d["Metrics"].([]any)
		if len(metrics) == 0 || len(metrics) > 100 {
			all = append(all, fmt.Sprintf("%d metrics", len(metrics)))
		}
		for _, m := range metrics {
			m, _ := m.(map[string]any)
			name, _ := m["Name"].(string)
			all = append(all, target(name, line[name])...)
		}
		sets, _ := d["Dimensions"].([]any)
		for _, set := range sets {
			names, _ := set.([]any)
			for _, name := range names {
				if v, ok := line[fmt.Sprint(name)].(string); !ok || v == "" || len(v) > 1024 {
					all = append(all, fmt.Sprintf("dimension %v is %v", name, line[fmt.Sprint(name)]))
				}
			}
		}
	}
	return all
}

// target returns what is wrong with the value of the metric name: a number, or up to 100, or values with their counts.
func target(name string, v any) (all []string) {
	fault := func(format string, args ...any) { all = append(all, name+": "+fmt.Sprintf(format, args...)) }
	numbers := func(what string, v any) (list []float64) {
		items, ok := v.([]any)
		if !ok || len(items) == 0 || len(items) > 100 {
			fault("%s: %v", what, v)
		}
		for _, item := range items {
			n, _ := item.(json.Number)
			f, err := n.Float64()
			if err != nil {
				fault("%s: %v", what, item)
			}
			list = append(list, f)
		}
		return list
	}
	switch v := v.(type) {
	case json.Number:
	case []any:
		numbers("an array", v)
	case map[string]any:
		values, counts := numbers("Values", v["Values"]), numbers("Counts", v["Counts"])
		if len(values) != len(counts) {
			fault("%d values and %d counts", len(values), len(counts))
			return all
		}
		stat := map[string]float64{}
		for _, of := range []string{"Min", "Max", "Sum", "Count"} {
			n, _ := v[of].(json.Number)
			f, err := n.Float64()
			if err != nil {
				fault("%s: %v", of, v[of])
			}
			stat[of] = f
		}
		var count, sum float64
		for i := range values {
			count += counts[i]
			sum += values[i] * counts[i]
			if values[i] < stat["Min"]*0.999 || values[i] > stat["Max"]*1.001 {
				fault("value %v is not from %v to %v", values[i], stat["Min"], stat["Max"])
			}
		}
		if count != stat["Count"] {
			fault("the counts are %v, and Count is %v", count, stat["Count"])
		}
		if sum > stat["Sum"]*1.1+1e-4*count || sum < stat["Sum"]*0.9-1e-4*count {
			fault("the values are %v in sum, and Sum is %v", sum, stat["Sum"])
		}
	default:
		fault("%v", v)
	}
	return all
}
