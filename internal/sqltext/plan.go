package sqltext

import (
	"regexp"
	"slices"
	"strings"
)

// ScanPlan scans the lines of EXPLAIN (VERBOSE, COSTS OFF) in text format, of PostgreSQL 14 to 18. VERBOSE is what makes
// EXPLAIN show the expressions in which functions stand.
//
// Each line must be one of these, or the plan is refused:
//
//   - a node of a kind that is known to read only. Not among them are those that write (Insert, Update, Delete, Merge),
//     lock (LockRows), or run code of others (Foreign Scan, Custom Scan); nor a node on a temporary table, which only
//     one session has;
//   - the head of a part: CTE, InitPlan, SubPlan, JIT, Planning;
//   - a property that is known, in whose expressions functions are looked for as [Scan] does it. Not among them is
//     Subplans Removed, which says that the plan has parts that it does not show.
//
// What holds for other arguments must not hang on those of one run: the plan should be a generic one.
//
// A string with a newline makes two lines of one, of which neither is understood.
func ScanPlan(lines []string) Statement {
	s, _ := scanPlan(lines, false)
	return s
}

// ScanWrite is ScanPlan for a plan that may write and lock too. It returns the relations that are written as well, as
// the plan names them.
func ScanWrite(lines []string) (s Statement, written []string) { return scanPlan(lines, true) }

func scanPlan(lines []string, writes bool) (_ Statement, written []string) {
	var c calls
	if len(lines) == 0 {
		c.refuse("no plan")
	}
	scans, shown := 0, 0 // nodes that are functions in FROM, and those whose call the plan shows
	for i, line := range lines {
		text := strings.TrimLeft(line, " ")
		node, nested := strings.CutPrefix(text, "->  ")
		key, value, colon := strings.Cut(text, ":")
		target := writeLine.FindStringSubmatch(node)
		switch {
		case strings.ContainsAny(line, "\n\r"):
			c.refuse("newline")
		case writes && target != nil:
			written = append(written, target[1])
		case writes && nested && node == "LockRows":
		case i == 0 || nested:
			if why := badNode(strings.TrimLeft(node, " ")); why != "" {
				c.refuse(why)
			}
			if strings.Contains(node, "Function Scan") {
				scans++
			}
		case part.MatchString(text):
		case !colon:
			c.refuse("plan line")
		case slices.Contains(facts, key):
		case writes && (key == "Conflict Resolution" || key == "Conflict Arbiter Indexes"):
		case writes && key == "Conflict Filter":
			c.expression(value)
		case slices.Contains(expressions, key):
			if strings.HasSuffix(key, "Function Call") {
				shown++
			}
			c.expression(value)
		default:
			c.refuse("plan property")
		}
	}
	if scans != shown {
		c.refuse("function scan without its call")
	}
	return c.Statement, written
}

// expression looks for functions in an expression of a plan.
func (c *calls) expression(text string) {
	tokens, refused := lex(text, planText)
	if refused != "" {
		c.refuse(refused)
	}
	c.find(tokens)
}

// writeLine is a line of what is written, with its alias behind it if it has one: a node's, or one for each of the
// tables below a parent.
var writeLine = regexp.MustCompile(`^(?:Insert|Update|Delete|Merge) on ((?:[a-z0-9_$]+|"(?:[^"]|"")+")\.(?:[a-z0-9_$]+|"(?:[^"]|"")+"))(?: (?:[a-z0-9_$]+|"(?:[^"]|"")+"))?$`)

// badNode returns why a node is refused, given the line that names it, such as
//
//	Parallel Index Scan Backward using t_pkey on public.t t_1
func badNode(line string) string {
	m := nodeLine.FindStringSubmatch(line)
	if m == nil {
		return "plan node"
	}
	for _, names := range m[1:] { // of the index, and of the relation with its alias
		tokens, refused := lex(names, planText)
		if refused != "" {
			return "plan node"
		}
		for i, t := range tokens {
			if !t.name() && !t.is(".") {
				return "plan node"
			}
			if t.text == "pg_temp" && i == 0 {
				return "temporary table"
			}
		}
	}
	return ""
}

// nodeLine is a line of a node that only reads.
var nodeLine = regexp.MustCompile(`^(?:Parallel |Async )?(?:Partial |Finalize |Simple )?(?:` + strings.Join([]string{
	`Result`, `ProjectSet`, `Append`, `Merge Append`, `Recursive Union`, `BitmapAnd`, `BitmapOr`,
	`Nested Loop(?: (?:Left|Right|Full|Semi|Anti|Right Semi|Right Anti) Join)?`,
	`(?:Merge|Hash)(?: (?:Left|Right|Full|Semi|Anti|Right Semi|Right Anti))? Join`,
	`Seq Scan`, `Sample Scan`, `Gather`, `Gather Merge`, `Index Scan`, `Index Only Scan`, `Bitmap Index Scan`,
	`Bitmap Heap Scan`, `Tid Scan`, `Tid Range Scan`, `Subquery Scan`, `Function Scan`, `Table Function Scan`,
	`Values Scan`, `CTE Scan`, `WorkTable Scan`, `Materialize`, `Memoize`, `Sort`, `Incremental Sort`, `Group`,
	`Aggregate`, `GroupAggregate`, `HashAggregate`, `MixedAggregate`, `WindowAgg`, `Unique`,
	`(?:Hash)?SetOp (?:Intersect|Except)(?: All)?`, `Limit`, `Hash`,
}, "|") + `)(?: Backward)?(?: using (.+?))?(?: on (.+))?$`)

// part is the head of a part of the plan. A CTE's name is not quoted, and may be anything.
var part = regexp.MustCompile(`^(?:CTE .+|(?:InitPlan|SubPlan) \d+(?: \(returns [$\d,]+\))?|JIT:|Planning:)$`)

// facts are the properties that hold no expression.
var facts = []string{
	"Workers Planned", "Workers Launched", "Single Copy", "Inner Unique", "Params Evaluated", "Cache Mode",
	"Planned Partitions", "Disabled", "Query Identifier", "Settings", "Functions", "Options",
	"Planning Time", "Buffers", "Memory",
}

// expressions are the properties that do.
var expressions = []string{
	"Output", "Filter", "Join Filter", "One-Time Filter", "Function Call", "Table Function Call", "Index Cond",
	"Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Order By", "Sort Key", "Presorted Key", "Group Key", "Hash Key",
	"Cache Key", "Sampling", "Run Condition", "Window",
}
