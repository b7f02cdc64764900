package facts

import (
	"encoding/json"
	"strings"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// ownedBodyOf reads what ownedBody says.
func ownedBodyOf(answer string) (b body) {
	var is struct {
		Body       string  `json:"b"`
		Procedural bool    `json:"l"`
		Defaults   *string `json:"d"`
		Path       *string `json:"p"`
		Others     *string `json:"c"`
		Owner      *string `json:"o"`
	}
	if answer == "" || json.Unmarshal([]byte(answer), &is) != nil {
		b.Trace, b.Dynamic = sqltext.AnyTrace, true
		return b
	}
	b.Body = sqltext.BodyOf(is.Body, is.Procedural)
	if is.Defaults != nil {
		d := sqltext.BodyOf("select "+*is.Defaults, false)
		b.Mentions, b.Functions = b.Mentions.And(&d.Mentions), append(b.Functions, d.Functions...)
		b.Trace, b.Dynamic = max(b.Trace, d.Trace), b.Dynamic || d.Dynamic
	}
	if is.Others != nil {
		b.Trace = max(b.Trace, sqltext.AnyTrace)
		if others := strings.ToLower(*is.Others); strings.Contains(others, "plpgsql.") || strings.Contains(others, "standard_conforming_strings=") {
			b.Trace = sqltext.LastingTrace
		}
	}
	if is.Owner != nil {
		b.schemas = append(b.schemas, *is.Owner)
	}
	if is.Path == nil {
		return b
	}
	for schema := range strings.SplitSeq(*is.Path, ",") {
		schema = strings.TrimSpace(schema)
		if in, quoted := strings.CutPrefix(schema, `"`); quoted {
			schema = strings.TrimSuffix(in, `"`)
		} else {
			schema = strings.ToLower(schema) // as PostgreSQL does
		}
		if strings.ContainsAny(schema, `"$,`) || strings.HasPrefix(schema, "pg_temp") {
			b.Trace = max(b.Trace, sqltext.AnyTrace)
		} else if schema != "" {
			b.schemas = append(b.schemas, schema)
		}
	}
	return b
}
