package pool_test

// A kit is some code of a user's own, and the ways in which a statement reaches it.
type kit struct {
	name   string
	since  int  // the first version of PostgreSQL that has it; 0: all
	apart  bool // it changes what statements mean that do not know of it: it gets a database of its own
	ddl    string
	after  string              // run when all else is there: settings of the database, as «db»
	types  map[string][]string // types of its own that can be compared: what an expression of each begins with
	plants []plant
}

// A plant is a piece of SQL that reaches a planted function, or does so once it is compared, sorted or cast.
type plant struct {
	production
	runs string // functions of which one should be seen; "" if the kit's are not known beforehand
	sees judge
}

// judge says who can see that a planted function is reached.
type judge uint8

const (
	byTree judge = 1 << iota // it stands in the rewritten tree
	byRun                    // it says so when it runs
	byBoth = byTree | byRun
)

// readKits are the kits whose plants stand in statements that read.
func readKits() []kit {
	var all []kit
	for _, part := range [][]kit{nameKits, typeKits, relationKits, apartKits} {
		all = append(all, part...)
	}
	return all
}

// reach is a plant that makes typ, runs one of some functions, separated by commas, and is seen by some judges.
func reach(typ, sql, runs string, sees judge) plant {
	return plant{production: production{typ: typ, sql: sql}, runs: runs, sees: sees}
}

// from is pl, from a version of PostgreSQL on.
func (pl plant) from(version int) plant {
	pl.since = version
	return pl
}
