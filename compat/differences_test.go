package compat

// differences are the tests of pgxpool's that lmipool does not pass, on purpose, with the reason.
var differences = map[string]string{
	"TestPoolAcquireAllIdle":                             "AcquireAllIdle is missing: to hold all idle connections starves the others",
	"TestPoolBeforeConnect":                              "application_name begins with the pool's id, whoever sets it: so the environments of a fleet are counted",
	"TestPoolBeforeAcquire":                              "it uses AcquireAllIdle",
	"TestPoolPrepareConn":                                "it uses AcquireAllIdle",
	"TestPoolAcquireAndConnHijack":                       "Hijack is missing: a connection that leaves the pool would not count in MaxConns",
	"TestConnReleaseClosesBusyConn":                      "Release reads or cancels what is left, and keeps the connection",
	"TestConnReleaseClosesConnInTransaction":             "Release rolls back, and keeps the connection",
	"TestConnReleaseClosesConnInFailedTransaction":       "Release rolls back, and keeps the connection",
	"TestTxBeginFuncNestedTransactionCommit":             "a temporary table is gone when its user's statement is over",
	"TestTxBeginFuncNestedTransactionRollback":           "a temporary table is gone when its user's statement is over",
	"TestConnectEagerlyReachesMinPoolSize":               "a pool never dials by itself: MinConns counts from the first use, or Warm",
	"TestPoolBackgroundChecksMinConns":                   "a pool never dials by itself: MinConns counts from the first use, or Warm",
	"TestConnectConfigRequiresConnConfigFromParseConfig": "a Config that is not from ParseConfig is an error, and no panic",

	"TestPoolInitialConnectionError":           "a pool never dials by itself: MinConns counts from the first use, or Warm",
	"TestPoolBackgroundConnectionsContext":     "a pool never dials by itself: MinConns counts from the first use, or Warm",
	"TestPoolAcquireCanceledDuringStalledPing": "a new connection is asked what its session is like, and the test's server does not answer",
}

// racy are tests of both packages that pass or not by who is quicker, with the reason.
var racy = map[string]string{
	"TestOptionBeforeAfterConnect":   "of stdlib: it wants a second connection for a second statement, and the pool may need one or two",
	"TestPoolAcquireChecksIdleConns": "it ends sessions behind the pool's back and expects that nobody knows; a session whose raw connection was lent is reset soon, which tells",
}

// onlyIn512 are tests that pgx 5.11 has not.
var onlyIn512 = []string{"TestPoolInitialConnectionError", "TestPoolBackgroundConnectionsContext", "TestPoolAcquireCanceledDuringStalledPing"}

// differencesOfStdlib are the tests of pgx's stdlib that lmipool's does not pass, on purpose, with the reason.
var differencesOfStdlib = map[string]string{
	"TestConnExec":                           ofTempTable,
	"TestConnExecInsertByteSliceIntoJSON":    ofTempTable,
	"TestConnQueryJSONIntoByteSlice":         ofTempTable,
	"TestConnQueryRowConstraintErrors":       ofTempTable,
	"TestRowsColumnTypeLength":               ofTempTable,
	"TestTransactionLifeCycle":               ofTempTable,
	"TestStmtExecContextCancel":              ofTempTable,
	"TestStmtExecContextSuccess":             ofTempTable,
	"TestConnMultiplePrepareAndDeallocate":   "Prepare keeps a text and prepares nothing by itself on the server",
	"TestOptionShouldPing_HookCalledOnReuse": "OptionShouldPing is missing: pool.Config has ShouldPing",
	"TestCheckIdleConn":                      "it uses OptionShouldPing",
	"TestResetSessionHookCalled":             "OptionResetSession is missing: pool.Config has PrepareConn",
}

const ofTempTable = "a temporary table that (*sql.DB).Exec makes is gone when that call is over: use a *sql.Conn or a transaction"
