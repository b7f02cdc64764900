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
		"":                     join(pgx, lambda, []string{module + "/pool", module + "/lambdaenv", module + "/internal/connstring", module + "/internal/gostack", module + "/internal/inprocess", module + "/internal/pgerr", module + "/internal/safelog"}),
		"/pool":                join(pgx, []string{module + "/internal/catalog", module + "/internal/facts", module + "/internal/sqltext", module + "/internal/awshost", module + "/internal/connstring", module + "/internal/gostack", module + "/internal/memrows", module + "/internal/pgcancel", module + "/internal/pgdial", module + "/internal/pgerr", module + "/internal/safelog", module + "/internal/sched", module + "/internal/sslmode"}),
		"/iam":                 join(pgx, aws, []string{module + "/internal/awshost", module + "/internal/pgerr", module + "/internal/safelog", module + "/internal/sslmode"}),
		"/lambdaenv":           nil,
		"/lmitest":             join(lambda, []string{module + "/lambdaenv", module + "/internal/child", module + "/internal/inprocess"}),
		"/lmitest/cmd/lmirun":  join(pgx, []string{module + "/lmitest", module + "/lambdaenv", module + "/internal/connstring"}),
		"/internal/pgtest":     join(pgx, []string{module + "/internal/child"}),
		"/internal/child":      nil,
		"/internal/gostack":    nil,
		"/internal/inprocess":  nil,
		"/internal/netfault":   nil,
		"/internal/sched":      nil,
		"/internal/sqltext":    nil,
		"/internal/catalog":    join(pgx, []string{module + "/internal/facts", module + "/internal/memrows", module + "/internal/sqltext"}),
		"/internal/facts":      join(pgx, []string{module + "/internal/sqltext"}),
		"/internal/awshost":    nil,
		"/internal/connstring": pgx,
		"/internal/memrows":    pgx,
		"/internal/pgcancel":   join(pgx, []string{module + "/internal/pgerr"}),
		"/internal/pgdial":     join(pgx, []string{module + "/internal/awshost", module + "/internal/pgerr", module + "/internal/sslmode"}),
		"/internal/pgerr":      pgx,
		"/internal/safelog":    nil,
		"/internal/sslmode":    pgx,
		"/internal/tlstest":    {module + "/internal/child"},
	}
	may["/pool"] = append(may["/pool"], module+"/internal/pgwire", module+"/internal/session")
	may["/internal/session"] = join(pgx, []string{module + "/internal/pgerr", module + "/internal/pgwire", module + "/internal/sqltext"})
	may["/internal/pgwire"] = join(pgx, []string{module + "/internal/pgerr"})
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

func join(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
