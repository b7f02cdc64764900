package lmipool_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/lmipool/lmipool"

// TestArrowsPointDown holds the picture of DESIGN.md against the imports: what each
// package of the library may import beyond the standard library. A package that is
// not here fails, so that a new one gets its place.
func TestArrowsPointDown(t *testing.T) {
	t.Parallel()
	pgx := []string{"github.com/jackc/pgx/v5"}
	lambda := []string{"github.com/aws/aws-lambda-go"}
	aws := []string{"github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/feature/rds/auth"} // never its config
	may := map[string][]string{
		"": join(pgx, lambda, own("pool", "lambdaenv", "internal/connstring", "internal/eventlog", "internal/fleet", "internal/gostack", "internal/inprocess", "internal/pgdial", "internal/pgerr", "internal/safelog", "internal/snapshot", "internal/tell", "observe")),
		"/pool": join(pgx, own("internal/account", "internal/awshost", "internal/catalog", "internal/companion", "internal/connstring", "internal/copyin", "internal/deadconn", "internal/facts", "internal/fleet", "internal/gostack", "internal/isolation", "internal/lane", "internal/member", "internal/memrows", "internal/pgcancel",
			"internal/pgdial", "internal/pgerr", "internal/pgwire", "internal/pgxargs", "internal/safelog", "internal/sched", "internal/session", "internal/sqltext", "internal/sslmode", "internal/tell", "internal/upstream", "observe")),
		"/cmd/lmiplan":            {module},
		"/emf":                    append(own("lambdaenv", "observe", "pool"), module),
		"/iam":                    join(pgx, aws, own("internal/awshost", "internal/gostack", "internal/pgerr", "internal/safelog", "internal/sslmode")),
		"/lambdaenv":              nil,
		"/observe":                own("internal/sqltext"),
		"/internal/tell":          own("internal/gostack", "observe"),
		"/stdlib":                 join(pgx, own("internal/pgerr", "pool")),
		"/internal/eventlog":      own("internal/safelog", "observe"),
		"/internal/account":       own("internal/gostack", "internal/sqltext", "observe"),
		"/lmitest":                join(lambda, own("lambdaenv", "observe", "internal/child", "internal/gostack", "internal/inprocess")),
		"/lmitest/cmd/lmirun":     join(pgx, own("lmitest", "lambdaenv", "internal/connstring", "status")),
		"/internal/awshost":       nil,
		"/internal/catalog":       join(pgx, own("internal/facts", "internal/memrows", "internal/sqltext")),
		"/internal/child":         nil,
		"/internal/companion":     join(pgx, own("internal/pgdial")),
		"/internal/connstring":    join(pgx, own("internal/pattern")),
		"/internal/copyin":        join(pgx, own("internal/pgerr")),
		"/internal/deadconn":      pgx,
		"/internal/facts":         join(pgx, own("internal/sqltext")),
		"/internal/fleet":         nil,
		"/internal/gostack":       nil,
		"/internal/inprocess":     nil,
		"/internal/lane":          join(pgx, own("internal/catalog", "internal/facts", "internal/memrows", "internal/pgerr", "internal/sched", "internal/session", "internal/sqltext")),
		"/internal/isolation":     join(pgx, own("internal/catalog", "internal/facts", "internal/memrows", "internal/pgerr", "internal/pgwire", "internal/pgxargs", "internal/session", "internal/sqltext", "internal/upstream")),
		"/internal/member":        join(pgx, own("internal/fleet")),
		"/internal/memrows":       pgx,
		"/internal/netfault":      nil,
		"/internal/pattern":       nil,
		"/internal/pgcancel":      join(pgx, own("internal/pgerr")),
		"/internal/pgdial":        join(pgx, own("internal/awshost", "internal/pattern", "internal/pgerr", "internal/sslmode")),
		"/internal/pgerr":         join(pgx, own("internal/pattern")),
		"/internal/pgtest":        join(pgx, own("internal/child")),
		"/internal/pgtest/withpg": own("internal/pgtest"),
		"/internal/pgwire":        join(pgx, own("internal/pgerr")),
		"/internal/pgxargs":       pgx,
		"/internal/safelog":       nil,
		"/internal/sched":         nil,
		"/internal/sim":           own("internal/fleet", "internal/sched"),
		"/internal/session":       join(pgx, own("internal/pattern", "internal/pgerr", "internal/pgwire", "internal/sqltext")),
		"/internal/snapshot":      own("internal/safelog", "internal/sqltext", "lambdaenv", "observe", "pool"),
		"/status":                 append(own("internal/snapshot"), module),
		"/internal/sqltext":       own("internal/pattern"),
		"/internal/sslmode":       pgx,
		"/internal/upstream":      join(pgx, own("internal/pattern", "internal/session")),
		"/internal/tlstest":       own("internal/child"),
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		allowed, known := may[name]
		if !assert.True(t, known, "package %q has no place in the picture: give it one here and in DESIGN.md", name) {
			continue
		}
		for _, imported := range fields[1:] {
			if strings.Contains(strings.Split(imported, "/")[0], ".") && !within(imported, allowed) {
				t.Errorf("%s must not import %s", fields[0], imported)
			}
		}
	}
}

// within reports whether path is one of roots. Our own packages must be named
// exactly; another module's root stands for all its packages.
func within(path string, roots []string) bool {
	for _, root := range roots {
		if path == root || !strings.HasPrefix(root, module) && strings.HasPrefix(path, root+"/") {
			return true
		}
	}
	return false
}

// own are packages of this module.
func own(names ...string) (paths []string) {
	for _, name := range names {
		paths = append(paths, module+"/"+name)
	}
	return paths
}

func join(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
