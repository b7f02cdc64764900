package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/lmipool/lmipool"
)

// show prints plan, which is the result of in. role is the name of the function's role.
func show(w io.Writer, in lmipool.PlanInput, plan lmipool.PlanResult, role string) {
	row := func(left, format string, args ...any) {
		fmt.Fprintf(w, "%10s  "+format+"\n", append([]any{left}, args...)...)
	}
	number := func(sign string, n int, what string) {
		if n > 0 {
			row(fmt.Sprintf("%s%d", sign, n), "%s", what)
		}
	}
	from := "max_connections"
	if in.MaxConnections == 0 {
		from += fmt.Sprintf(", estimated from %v GiB of memory; SHOW max_connections tells the real number", in.MemoryGiB)
	}
	fmt.Fprintln(w, "The database has these connections:")
	number("", plan.MaxConnections, from)
	number("− ", in.SuperuserReserved, "superuser_reserved_connections")
	number("− ", in.Reserved, "other reserved connections")
	number("− ", in.OtherClients, "of other clients")
	number("= ", plan.Available, "for the function")

	fmt.Fprintln(w, "\nWhat to configure:")
	fmt.Fprintf(w, "  ALTER ROLE \"%s\" CONNECTION LIMIT %d;", strings.ReplaceAll(role, `"`, `""`), plan.ConnectionLimit)
	if in.Roles > 1 {
		fmt.Fprintf(w, " -- the same for each of the %d roles", in.Roles)
	}
	fmt.Fprintf(w, "\n  MaxExecutionEnvironments: %d (up to %d fit)\n  LMIPOOL_MAX_CONNS=%d\n  LMIPOOL_MIN_CONNS=%d\n", in.MaxEnvironments, plan.MostEnvironments, plan.MaxConns, plan.MinConns)
	fmt.Fprintf(w, "  LMIPOOL_FLEET_BUDGET=%d, only if the role must have no limit; the shares are lower then, since nothing else stops a jump\n", plan.ConnectionLimit)

	fmt.Fprintln(w, "\nThen each environment has at most:")
	number("", plan.Usual, fmt.Sprintf("while the usual %d run", in.Environments))
	number("", plan.AtMost, fmt.Sprintf("while %d run", in.MaxEnvironments))
	if in.Versions > 1 {
		number("", plan.Deploying, fmt.Sprintf("during a deployment, while %d versions have %d each", in.Versions, in.MaxEnvironments))
	}
	number("", plan.MaxConnsAlone, "always, for LMIPOOL_MAX_CONNS where no fleet budget works, as behind a pooler")
}
