package lmipool_test

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// owners are the files that write the fields of a struct: one file for each field, so that who changes it knows where to
// look. A line names the file of most fields first, then each field that another file writes. Files are named without ".go", and with a directory in front
// if it is not the struct's; structs with their directory in front where two packages have one of that name.
const owners = `
AcquireError: acquire
answers: conn
Baseline: baseline
Baselines: facts
batch: batch
Belief: facts
cancelConn: limiter
callback: scope
Canceler: limiter over=canceler ready=canceler
commits: note
conn: conn lost=fence maybeStandby=fence silent=fence
Connection: pool/conn
deferral: stream
Description: description
internal/pgdial.Dial: dial
dialer: dialer companions=new
dialing: dialer
epochs: epochs
extent: fact
Facts: facts
internal/lane.Flight: flight
foreign: residue
functionFact: find
globalFact: find
Heard: heard
pool.held: scope
hold: hold
Holder: hold Scope=lease Stack=lease
internal/fleet.Share: share
internal/isolation.Session: session Facts=pool/conn Kept=pool/conn Types=pool/conn anew=meaning belief=reset commits=note foreign=note given=note kept=meaning left=reset named=meaning reports=reset strange=use
Sessions: pool/new
internal/isolation.Use: use inTx=note meaning=meaning planned=meaning touched=meaning
internal/sched.actions: decide carry=actions end=actions first=actions last=actions limit=actions
internal/sched.answer: actions
internal/sched.Conn: stock Shares=pool/conn leaving=decide wait=decide waiting=scheduler
internal/sched.core: decide
internal/sched.Group: queue Owner=pool/ride conn=decide next=actions
internal/sched.growth: growth debt=decide floor=bounds washing=scheduler
internal/sched.marks: queue failed=outage told=scheduler
internal/sched.outage: outage patience=decide random=decide
internal/sched.queue: queue group=decide
internal/sched.Request: queue Asked=pool/acquire Owner=pool/lease Share=scheduler Within=pool/acquire alone=scheduler asked=scheduler
internal/sched.Scheduler: scheduler
internal/sched.stock: stock
Lane: lane guarded=segment
Lease: acquire
led: reach
Limiter: limiter
LoginTime: dial
Maps: types Closed=pool/conn
Member: member
nodeFact: find deep=facts
pace: statement
peak: rule
internal/fleet.polls: pace
internal/pgwire.queue: prologue
Reach: upstream
Recognition: upstream
recordPlan: codecs
pool.Pool: new
replies: stream
request: canceler
prepared: lane verified=segment
residue: residue
Result: rows
Ride: ride server=segment types=segment
rows: rows
Scope: scope
Set: types
internal/catalog.Statement: statement proof=mayride
segment: flight
Settings: settings
Shared: lane
source: copyin
stmt: ride lentOnce=acquire
Store: store
Text: statement
tuner: tuner
tx: run_on_lease lost=tx ran=report
verified: segment
recorder: record
way: release
workers: new
Writer: writer
`

// mostFields is how many fields a struct in owners may have. Structs of options and of counters may have more.
const mostFields = 20

var manyFields = []string{"Config", "Stat"}

// TestFieldsHaveAnOwner holds owners against the source.
func TestFieldsHaveAnOwner(t *testing.T) {
	t.Parallel()
	l := load(t)
	structs, writes := l.structs(), l.writes()
	for line := range strings.Lines(strings.TrimSpace(owners)) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, ": ")
		if len(structs[name]) != 1 {
			t.Errorf("%s: want one struct of this name, there are %d", name, len(structs[name]))
			continue
		}
		s := structs[name][0]
		if s.NumFields() > mostFields && !slices.Contains(manyFields, name) {
			t.Errorf("%s has %d fields, want %d at most", name, s.NumFields(), mostFields)
		}
		row, shared := l.row(s, writes)
		if len(shared) > 0 {
			t.Errorf("fields of %s are written from several files:\n%s", name, strings.Join(shared, "\n"))
		} else if is := name + ": " + row; is != line {
			t.Errorf("%s\nis what it is now, and owners says\n%s", is, line)
		}
	}
}

// row is what owners has to say of s, and the fields for which it cannot.
func (l *library) row(s *types.Struct, writes map[*types.Var][]token.Pos) (row string, shared []string) {
	owner, fields := map[string]string{}, map[string]int{} // by field, by file
	for f := range s.Fields() {
		for _, at := range writes[f] {
			file := l.fileFor(f, at)
			if first, ok := owner[f.Name()]; !ok {
				owner[f.Name()] = file
				fields[file]++
			} else if first != file {
				shared = append(shared, fmt.Sprintf("%s: %v and not only %s", f.Name(), l.fset.Position(at), first))
			}
		}
	}
	most := ""
	for _, file := range slices.Sorted(maps.Keys(fields)) {
		if fields[file] > fields[most] {
			most = file
		}
	}
	row = most
	for _, field := range slices.Sorted(maps.Keys(owner)) {
		if owner[field] != most {
			row += " " + field + "=" + owner[field]
		}
	}
	return row, shared
}

// library is the source of the module's packages, with its types as far as they are of the module: other imports are empty.
type library struct {
	fset     *token.FileSet
	info     types.Info
	files    []*ast.File
	packages map[string]*types.Package
}

func load(t *testing.T) *library {
	l := &library{
		fset:     token.NewFileSet(),
		info:     types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}, Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}},
		packages: map[string]*types.Package{"unsafe": types.Unsafe},
	}
	dirs, err := filepath.Glob("internal/*")
	require.NoError(t, err)
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return filepath.Base(dir) == "sim" }) // it stands in for the pool
	for _, dir := range append(dirs, "", "pool") {
		_, err := l.Import(path.Join(module, filepath.ToSlash(dir)))
		require.NoError(t, err)
	}
	return l
}

// Import is types.Importer's.
func (l *library) Import(of string) (*types.Package, error) {
	if p := l.packages[of]; p != nil {
		return p, nil
	}
	dir, own := strings.CutPrefix(of, module)
	if !own {
		name := path.Base(of)
		if strings.HasPrefix(name, "v") && len(name) < 4 { // …/pgx/v5
			name = path.Base(path.Dir(of))
		}
		p := types.NewPackage(of, name)
		p.MarkComplete()
		l.packages[of] = p
		return p, nil
	}
	var files []*ast.File
	dir = "." + dir
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if ok, _ := build.Default.MatchFile(dir, e.Name()); !ok || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, parseErr := parser.ParseFile(l.fset, path.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if parseErr != nil {
			return nil, parseErr
		}
		files = append(files, f)
	}
	c := types.Config{Importer: l, Error: func(error) {}} // what others' types are is not known here
	p, _ := c.Check(of, l.fset, files, &l.info)
	l.packages[of], l.files = p, append(l.files, files...)
	return p, err
}

// structs are the named structs, by their name and by that with their package's directory in front.
func (l *library) structs() map[string][]*types.Struct {
	all := map[string][]*types.Struct{}
	for of, p := range l.packages {
		for _, name := range p.Scope().Names() {
			if n, ok := p.Scope().Lookup(name).(*types.TypeName); ok && !n.IsAlias() {
				if s, ok := n.Type().Underlying().(*types.Struct); ok {
					all[name] = append(all[name], s)
					full := strings.TrimPrefix(of, module+"/") + "." + name
					all[full] = append(all[full], s)
				}
			}
		}
	}
	return all
}

// writes are the places where a field gets a value: an assignment to it or to an element of it, and a literal.
func (l *library) writes() map[*types.Var][]token.Pos {
	all := map[*types.Var][]token.Pos{}
	add := func(v *types.Var, at token.Pos) { all[v.Origin()] = append(all[v.Origin()], at) }
	assign := func(targets ...ast.Expr) {
		for _, e := range targets {
			for {
				if i, ok := e.(*ast.IndexExpr); ok {
					e = i.X
				} else if p, ok := e.(*ast.ParenExpr); ok {
					e = p.X
				} else {
					break
				}
			}
			if s, ok := e.(*ast.SelectorExpr); ok {
				if sel := l.info.Selections[s]; sel != nil && sel.Kind() == types.FieldVal {
					add(sel.Obj().(*types.Var), s.Sel.Pos())
				}
			}
		}
	}
	for _, f := range l.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.AssignStmt:
				assign(x.Lhs...)
			case *ast.IncDecStmt:
				assign(x.X)
			case *ast.RangeStmt:
				assign(x.Key, x.Value)
			case *ast.CompositeLit:
				l.literal(x, add)
			}
			return true
		})
	}
	return all
}

// literal adds the fields that x gives a value.
func (l *library) literal(x *ast.CompositeLit, add func(*types.Var, token.Pos)) {
	typ := l.info.Types[x].Type
	if typ == nil {
		return
	}
	if p, ok := typ.Underlying().(*types.Pointer); ok { // &T left out, in a slice of *T
		typ = p.Elem()
	}
	s, ok := typ.Underlying().(*types.Struct)
	if !ok {
		return
	}
	for i, e := range x.Elts {
		if kv, keyed := e.(*ast.KeyValueExpr); !keyed {
			add(s.Field(i), e.Pos())
		} else if v, ok := l.info.Uses[kv.Key.(*ast.Ident)].(*types.Var); ok {
			add(v, e.Pos())
		}
	}
}

// fileFor is the name in owners of the file that has at in it.
func (l *library) fileFor(f *types.Var, at token.Pos) string {
	name := strings.TrimSuffix(l.fset.Position(at).Filename, ".go")
	if dir := strings.TrimPrefix(f.Pkg().Path(), module+"/"); path.Dir(name) == dir {
		return path.Base(name)
	}
	return name
}
