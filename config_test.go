package lmipool_test

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/pool"
)

// The root's Config has each field of pool.Config, with its type and its documentation, and hands each on.
func TestConfigHasTheFieldsOfPoolConfig(t *testing.T) {
	t.Parallel()
	ours, theirs := reflect.TypeFor[lmipool.Config](), reflect.TypeFor[pool.Config]()
	c := lmipool.Config{}
	for i := range theirs.NumField() {
		f := theirs.Field(i)
		own, ok := ours.FieldByName(f.Name)
		if assert.True(t, ok, "%s is missing", f.Name) && assert.Equal(t, f.Type, own.Type, f.Name) {
			fill(t, reflect.ValueOf(&c).Elem().FieldByName(f.Name))
		}
	}
	handedOn := reflect.ValueOf(c.ForPool()).Elem()
	for i := range handedOn.NumField() {
		assert.False(t, handedOn.Field(i).IsZero(), "%s is not handed on", theirs.Field(i).Name)
	}

	doc := fieldDocs(t, "config.go")
	for i := range ours.NumField() {
		assert.NotEmpty(t, doc[ours.Field(i).Name], "the documentation of %s", ours.Field(i).Name)
	}
}

// fill sets v to something that is not zero.
func fill(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Int8, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Func:
		v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { panic("not called") }))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Interface:
		v.Set(reflect.ValueOf(noTracer{}))
	default:
		t.Fatalf("fill: %s", v.Kind())
	}
}

// fieldDocs is what stands above each field of the Config in a file.
func fieldDocs(t *testing.T, file string) map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	require.NoError(t, err)
	docs := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == "Config" {
			for _, field := range spec.Type.(*ast.StructType).Fields.List {
				for _, name := range field.Names {
					docs[name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
		}
		return true
	})
	return docs
}

type noTracer struct{}

func (noTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (noTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestPoolConfigIsACopyOfWhatWasChosen(t *testing.T) {
	t.Parallel()
	db, err := lmipool.OpenIn(t.Context(), with(managed("64"), "LMIPOOL_MARGIN", "3s"), dsn+"&pool_max_conn_idle_time=7m",
		&lmipool.Config{MaxConnLifetime: time.Minute, LaneFunctions: []string{"f"}, MaxPanics: 5})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	c := db.Config()
	assert.EqualValues(t, 16, c.MaxConns, "by the formula")
	assert.Equal(t, 3*time.Second, c.Margin, "by the variable")
	assert.Equal(t, time.Minute, c.MaxConnLifetime, "by Config")
	assert.Equal(t, 7*time.Minute, c.MaxConnIdleTime, "by the connection string")
	assert.Equal(t, lmipool.Auto, c.Lanes, "by default")
	assert.EqualValues(t, 5, c.MaxPanics)
	c.LaneFunctions[0], c.MaxConns = "g", 1
	assert.Equal(t, []string{"f"}, db.Config().LaneFunctions)
	assert.EqualValues(t, 16, db.Config().MaxConns)
}

// secretTracer is a Tracer with a password.
type secretTracer struct {
	noTracer
	Password string
	Hook     func() `json:",omitempty"`
}

// As JSON, a Config has its numbers, names and switches: no hook, which JSON has not, and nothing of the user's own that may hold a secret.
func TestAConfigAsJSONHasNoHooks(t *testing.T) {
	t.Parallel()
	db, err := lmipool.OpenIn(t.Context(), managed("64"), "postgres://u:hunter2@h/d", &lmipool.Config{
		Tracer: secretTracer{Password: "hunter2", Hook: func() {}}, BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return nil }, LaneFunctions: []string{"f"},
		OnPanic: func(context.Context, any, any) (any, error) { return nil, nil },
	})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	for _, c := range []any{db.Config(), *db.Config(), db.Pool.Config()} {
		text, err := json.Marshal(c)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "hunter2")
		var is map[string]any
		require.NoError(t, json.Unmarshal(text, &is))
		assert.EqualValues(t, 16, is["MaxConns"])
		assert.Equal(t, []any{"f"}, is["LaneFunctions"])
		for _, f := range reflect.VisibleFields(reflect.Indirect(reflect.ValueOf(c)).Type()) {
			_, shown := is[f.Name]
			plain := slices.Contains([]reflect.Kind{reflect.Int32, reflect.Int64, reflect.String}, f.Type.Kind()) || f.Type == reflect.TypeFor[[]string]()
			assert.Equal(t, plain, shown, f.Name)
		}
	}
}

// A setting's variable, and its name in the log, are its field's name.
func TestVariablesBearTheNamesOfTheFields(t *testing.T) {
	t.Parallel()
	const named = "MAX_CONNS MIN_CONNS MIN_IDLE_CONNS FLEET_BUDGET MAX_CONN_LIFETIME MAX_CONN_LIFETIME_JITTER MAX_CONN_IDLE_TIME HEALTH_CHECK_PERIOD PING_TIMEOUT CONNECT_TIMEOUT " +
		"MAX_WAIT MAX_QUEUE CANCEL_WAIT REPORT_ROWS_AFTER REPORT_IDLE_TX_AFTER REPORT_SLOW_AFTER LANES ISOLATION UPSTREAM RERUN STAND_IN CATCH_PANICS MARGIN REPLY_MARGIN MAX_OVERRUNS MAX_PANICS PLAIN"
	names, variables := lmipool.Settings()
	assert.ElementsMatch(t, strings.Fields("LMIPOOL_"+strings.ReplaceAll(named, " ", " LMIPOOL_")), slices.Collect(maps.Values(variables)))
	for field, name := range names {
		assert.Equal(t, strings.ReplaceAll(name, "_", ""), strings.ToLower(field))
		assert.Equal(t, "LMIPOOL_"+strings.ToUpper(name), variables[field])
	}
	noVariable := []string{"ApplicationName"} // PGAPPNAME
	config := reflect.TypeFor[lmipool.Config]()
	for i := range config.NumField() {
		f := config.Field(i)
		switch f.Type.Kind() {
		case reflect.Int32, reflect.Int64, reflect.String, reflect.Bool:
			assert.Equal(t, !slices.Contains(noVariable, f.Name), variables[f.Name] != "", f.Name)
		default:
			assert.Empty(t, variables[f.Name], f.Name)
		}
	}
}
