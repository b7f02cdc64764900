package lmiotel

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/observe"
)

func TestOperationIsTheFirstWord(t *testing.T) {
	for text, want := range map[string]string{
		"select 1": "SELECT", " \n(Select 1)": "SELECT", "SELECT*from t": "SELECT", "-- a\n/* b /* c */ d */ insert into t": "INSERT",
		"with x as (select 1) select": "WITH", "frobnicate": "EXEC", "": "EXEC", "/* never closed": "EXEC", "--": "EXEC", "/*/": "EXEC", "{call f()}": "EXEC",
		"güte": "EXEC",
	} {
		assert.Equal(t, want, operation(observe.Statement{Op: observe.Exec, SQL: text}), "%q", text)
	}
	assert.Equal(t, "BATCH", operation(observe.Statement{Op: observe.Batch}))
	assert.Equal(t, "COPY", operation(observe.Statement{Op: observe.Copy, SQL: "t"}))
	assert.Equal(t, "BEGIN", operation(observe.Statement{Op: observe.Begin, SQL: "begin"}))
}

func FuzzOperation(f *testing.F) {
	f.Add("/* a */ select 1")
	f.Fuzz(func(t *testing.T, text string) {
		name := operation(observe.Statement{Op: observe.Exec, SQL: text})
		if operations[strings.ToLower(name)] != name && name != "EXEC" {
			t.Fatalf("%q is not one of a few names", name)
		}
	})
}

func TestATraceHeaderOfXRay(t *testing.T) {
	sc := fromXRay("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:b")
	assert.Equal(t, "5759e988bd862e3fe1be46a994272793", sc.TraceID().String())
	assert.Equal(t, "53995c3f42cd8ad8", sc.SpanID().String())
	assert.True(t, sc.IsSampled() && sc.IsRemote() && sc.IsValid())
	assert.False(t, fromXRay("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0").IsSampled())
	for _, wrong := range []string{
		"", "Root=", "Root=1-5759e988-bd862e3fe1be46a994272793", "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
		"Root=1-x-y;Parent=z", ";;;", "Parent=53995c3f42cd8ad8",
	} {
		assert.False(t, fromXRay(wrong).IsValid(), wrong)
	}
}

func TestErrorTypesAreFew(t *testing.T) {
	assert.Equal(t, "", errorType(nil))
	assert.Equal(t, "*errors.errorString", errorType(errors.New("no two are the same")))
}
