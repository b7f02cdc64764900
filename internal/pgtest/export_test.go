package pgtest

var (
	SharedDSN  = sharedDSN
	StopShared = stopShared
)
