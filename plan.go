package lmipool

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/lmipool/lmipool/internal/fleet"
	"github.com/lmipool/lmipool/lambdaenv"
)

// PlanInput is what [Plan] has to know of a PostgreSQL server and of the function that uses it.
type PlanInput struct {
	// MaxConnections is the server's max_connections, as SHOW max_connections says. If it is 0, MemoryGiB must be set.
	MaxConnections int

	// MemoryGiB is the memory of an RDS or Aurora instance class, or 2 GiB for each capacity unit of Aurora Serverless v2's maximum. If
	// MaxConnections is 0, the default of max_connections is estimated from it. See [Plan] for the formula.
	MemoryGiB float64

	// AutoPause says that the database is an Aurora Serverless v2 whose minimum capacity is 0 or 0.5. Its default of max_connections is 2,000 at most, and it
	// pauses only while nobody is connected, so MinConns is 0.
	AutoPause bool

	// SuperuserReserved is superuser_reserved_connections. Defaults to 3, as in PostgreSQL; a negative number means 0.
	SuperuserReserved int

	// Reserved is reserved_connections, which PostgreSQL 16 and later have, plus rds.rds_superuser_reserved_connections on RDS and Aurora. Defaults to 0.
	Reserved int

	// OtherClients is the most connections that all others have at once: other functions, migrations, monitoring, people. Defaults to 0.
	OtherClients int

	// MaxEnvironments is the most environments that one version of the function may have: MaxExecutionEnvironments of its FunctionScalingConfig, or on
	// any other Lambda its reserved concurrency.
	MaxEnvironments int

	// Environments is how many environments usually run. Defaults to 3, which is Lambda's own minimum for managed instances, or to MaxEnvironments if
	// that is less.
	Environments int

	// Versions is how many versions run at once. Defaults to 2: during a deployment the old version and the new one run.
	Versions int

	// Concurrency is how many invocations one environment runs at once, AWS_LAMBDA_MAX_CONCURRENCY.
	Concurrency int

	// Roles is how many database roles the function uses in turn. Defaults to 1. Secrets Manager's rotation with alternating users needs 2: after a
	// rotation old connections of one role and new connections of the other are open at once, so both roles' limits must fit.
	Roles int
}

// PlanResult is what to configure, and how many connections each environment then has.
type PlanResult struct {
	MaxConnections int // as in the input, or estimated
	Available      int // how many connections the function's roles may have together

	// ConnectionLimit is for ALTER ROLE … CONNECTION LIMIT of each role. Where a role must have no limit it is for Config.FleetBudget. Then each environment
	// has fewer connections than Usual, AtMost and Deploying say, since no server refuses what is above the budget.
	ConnectionLimit int

	MaxConns, MinConns int // of each environment

	// Usual, AtMost and Deploying are how many connections one environment may have while Environments run, while MaxEnvironments run, and while all
	// Versions run with MaxEnvironments each. The pool follows the fleet by itself.
	Usual, AtMost, Deploying int

	// MaxConnsAlone is for MaxConns where no fleet budget works, as behind a pooler. It is how many connections each environment may always have.
	MaxConnsAlone int

	// MostEnvironments is the largest MaxEnvironments that fits.
	MostEnvironments int
}

// Plan returns what to configure so that all environments of a function fit below their server's limits. If they cannot fit, or the input is wrong, it
// returns an error with the numbers. It is a pure function, and asks no server. Command lmiplan prints its result.
//
//	Available         MaxConnections − SuperuserReserved − Reserved − OtherClients
//	ConnectionLimit   Available ÷ Roles
//	share             ConnectionLimit ÷ (environments + 1), which leaves room for the next environment; a bit less for hundreds that may double soon
//	MaxConns          a quarter of Concurrency, from 2 to 64, and no more than the share of a single environment
//	MaxConnsAlone     ConnectionLimit ÷ (MaxEnvironments × Versions)
//
// All environments fit if ConnectionLimit is at least MaxEnvironments × Versions + 1.
//
// RDS and Aurora set max_connections to LEAST({DBInstanceClassMemory/9531392}, 5000). DBInstanceClassMemory is what the operating system and AWS's own
// processes leave of the memory, and is not published. Plan takes 15/16 of MemoryGiB less 256 MiB for it, which is up to 7 % less than what AWS publishes or
// users have seen for classes from 2 to 32 GiB.
func Plan(in PlanInput) (PlanResult, error) {
	in.Environments = cmp.Or(in.Environments, min(3, in.MaxEnvironments))
	in.Versions, in.Roles = cmp.Or(in.Versions, 2), cmp.Or(in.Roles, 1)
	if err := in.validate(); err != nil {
		return PlanResult{}, err
	}
	var r PlanResult
	r.MaxConnections = cmp.Or(in.MaxConnections, defaultMaxConnections(in.MemoryGiB, in.AutoPause))
	reserved := max(0, cmp.Or(in.SuperuserReserved, 3)) + in.Reserved
	r.Available = r.MaxConnections - reserved - in.OtherClients
	r.ConnectionLimit = r.Available / in.Roles
	most := in.MaxEnvironments * in.Versions
	r.MostEnvironments = (r.ConnectionLimit - 1) / in.Versions
	if r.ConnectionLimit < most+1 {
		return PlanResult{}, in.doesNotFit(r, most+1, reserved)
	}
	share := func(environments int) int { return fleet.Settled(r.ConnectionLimit, environments) }
	r.MaxConns = min(int(ceiling(lambdaenv.Env{Kind: lambdaenv.ManagedInstances, MaxConcurrency: in.Concurrency})), share(1))
	r.Usual, r.AtMost, r.Deploying = min(r.MaxConns, share(in.Environments)), min(r.MaxConns, share(in.MaxEnvironments)), min(r.MaxConns, share(most))
	r.MaxConnsAlone = min(r.MaxConns, r.ConnectionLimit/most)
	if r.Deploying > 1 && !in.AutoPause { // a connection that stays open is half of a share at most
		r.MinConns = 1
	}
	return r, nil
}

// doesNotFit returns the error of a fleet that needs the given number of connections, which is more than r.ConnectionLimit.
func (in *PlanInput) doesNotFit(r PlanResult, needed, reserved int) error {
	whose, parts := "the role", ""
	if in.Roles > 1 {
		whose, parts = "each role", fmt.Sprintf(", for %d roles", in.Roles)
	}
	var fits []string
	if r.MostEnvironments > 0 {
		fits = append(fits, "allow at most "+counted(r.MostEnvironments, "environment"))
	}
	if to := needed*in.Roles + reserved + in.OtherClients; to <= mostMaxConnections {
		fits = append(fits, fmt.Sprintf("raise max_connections to %d", to))
	}
	return fmt.Errorf("lmipool: plan: %s × %s need %d connections, one for each and one for the next environment, but %s may have %d (max_connections %d less %d reserved less %d of other clients%s): %s",
		counted(in.Versions, "version"), counted(in.MaxEnvironments, "environment"), needed, whose, max(0, r.ConnectionLimit),
		r.MaxConnections, reserved, in.OtherClients, parts, cmp.Or(strings.Join(fits, ", or "), "no number of environments fits"))
}

// mostMaxConnections is the highest max_connections that PostgreSQL accepts.
const mostMaxConnections = 262143

// validate returns an error that names each wrong field, its value and what would be right.
func (in *PlanInput) validate() error {
	var wrong []error
	field := func(name string, value, least, most int, hint string) {
		if value < least || value > most {
			wrong = append(wrong, fmt.Errorf("lmipool: plan: %s is %d, want %d to %d%s", name, value, least, most, hint))
		}
	}
	if in.MaxConnections != 0 {
		field("MaxConnections", in.MaxConnections, 1, mostMaxConnections, "")
	} else if !(in.MemoryGiB >= 1 && in.MemoryGiB <= 1<<20) { // NaN is wrong, too
		wrong = append(wrong, fmt.Errorf("lmipool: plan: MaxConnections is 0 and MemoryGiB is %v, want what SHOW max_connections says, or at least 1 GiB", in.MemoryGiB))
	}
	field("SuperuserReserved", max(in.SuperuserReserved, 0), 0, mostMaxConnections, "")
	field("Reserved", in.Reserved, 0, mostMaxConnections, "")
	field("OtherClients", in.OtherClients, 0, mostMaxConnections, "")
	field("MaxEnvironments", in.MaxEnvironments, 1, 15000, ": managed instances have no default maximum, so set MaxExecutionEnvironments of FunctionScalingConfig")
	if in.MaxEnvironments > 0 {
		field("Environments", in.Environments, 1, in.MaxEnvironments, ", which is MaxEnvironments")
	}
	field("Versions", in.Versions, 1, 10, "")
	field("Concurrency", in.Concurrency, 1, 1600, ": AWS_LAMBDA_MAX_CONCURRENCY, or 1 on any other Lambda")
	field("Roles", in.Roles, 1, 10, "")
	return errors.Join(wrong...)
}

// defaultMaxConnections returns less than the default of max_connections on RDS and Aurora. See Plan.
func defaultMaxConnections(gib float64, autoPause bool) int {
	most := 5000.0
	if autoPause {
		most = 2000
	}
	return int(math.Max(1, math.Min(most, (gib*15/16-0.25)*(1<<30)/9531392)))
}

// counted returns n and what is counted, with an s unless n is 1.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
