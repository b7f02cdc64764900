// Lmiplan says what to configure so that all environments of a function fit below their database's limits. See lmiplan -h.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lmipool/lmipool"
)

const usage = `lmiplan says what to configure so that all environments of a function fit below
their database's limits, or why they cannot fit. It asks no server.

  lmiplan [flags]

The database, by one of these three:
  -max-connections N      what SHOW max_connections says
  -memory GIB             the memory of the RDS or Aurora instance class, from
                          which the default of max_connections is estimated
  -acu N                  the same from Aurora Serverless v2's maximum capacity
What is not for the function:
  -superuser-reserved N   superuser_reserved_connections (default 3)
  -reserved N             reserved_connections, plus on RDS and Aurora
                          rds.rds_superuser_reserved_connections (default 0)
  -others N               the most connections that all other clients have at
                          once: functions, migrations, monitoring (default 0)
  -auto-pause             Aurora Serverless v2's minimum capacity is 0 or 0.5
The function:
  -environments N         the most environments of one version, which is its
                          MaxExecutionEnvironments (needed)
  -concurrency N          invocations at once in one environment (needed; 1 on
                          any Lambda but managed instances)
  -usual N                environments that usually run (default 3)
  -versions N             versions that run at once (default 2: a deployment)
  -role NAME              its database role, for what is printed (default app)
  -roles N                roles that it uses in turn (default 1; 2 if Secrets
                          Manager rotates alternating users)

The exit code is 0 if all fits, 1 if it cannot, 2 for a mistake in the flags.

  lmiplan -max-connections 400 -others 20 -environments 20 -concurrency 64
  lmiplan -acu 8 -environments 20 -concurrency 64
`

// These are the exit codes.
const (
	exitOK    = 0
	exitNoFit = 1
	exitUsage = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	in, role, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "lmiplan: %v\nlmiplan -h tells more.\n", err)
		return exitUsage
	}
	plan, err := lmipool.Plan(in)
	if err != nil {
		fmt.Fprintf(stderr, "lmiplan: %s\n", strings.TrimPrefix(err.Error(), "lmipool: plan: "))
		return exitNoFit
	}
	show(stdout, in, plan, role)
	return exitOK
}
