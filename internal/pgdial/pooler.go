package pgdial

import (
	"log/slog"
	"maps"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ForPooler has cc do nothing that a pooler in transaction mode cannot take, and warns of what RDS Proxy, if it is one, may not.
func ForPooler(cc *pgx.ConnConfig, rdsProxy bool, log *slog.Logger) {
	cc.DefaultQueryExecMode = PoolerMode(cc)
	if !rdsProxy {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(cc.RuntimeParams)) {
		if name != "application_name" {
			log.Warn("lmipool: RDS Proxy may refuse this setting of the connection string, or give each connection"+
				" a session of its own for it; use ALTER ROLE ... SET", "setting", name)
		}
	}
}

// PoolerMode is pgx's mode behind a pooler, unless the user has said which he wants.
func PoolerMode(cc *pgx.ConnConfig) pgx.QueryExecMode {
	switch {
	case cc.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement || execModeWord.MatchString(cc.ConnString()):
		return cc.DefaultQueryExecMode
	case cc.DescriptionCacheCapacity == 0:
		return pgx.QueryExecModeExec
	}
	return pgx.QueryExecModeCacheDescribe
}

// execModeWord finds out whether the user has said which mode he wants: pgx does not tell
// its default from a chosen one. Residue: cache_statement in a service file counts as not
// chosen.
var execModeWord = regexp.MustCompile(`(^|[\s?&'])default_query_exec_mode\s*=`)

// explainPooler says what to do about e, if a pooler is behind it; else "".
func explainPooler(e *pgconn.PgError, direct bool) string {
	switch {
	case unsupportedParameter.MatchString(e.Message):
		return "PgBouncer takes this setting of the connection string only if its ignore_startup_parameters names it; ALTER ROLE ... SET does without"
	case direct && (e.Code == "42P05" || e.Code == "26000"):
		return `another client's prepared statements are in this session, so there is a pooler in transaction mode in between: say so with Config.Upstream, "pgbouncer" or "rds-proxy"`
	}
	return ""
}

// unsupportedParameter is PgBouncer's: it has the code 08P01 for everything.
var unsupportedParameter = regexp.MustCompile(`^unsupported startup parameter`)
