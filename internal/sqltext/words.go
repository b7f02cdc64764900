package sqltext

import "slices"

// notCalled has the keywords that cannot be a function's name, unless quoted, in any version from 14 to 18: the reserved ones and those of
// col_name_keyword. A parenthesis behind them is syntax, as in IN (…), or calls a function of pg_catalog without effect, as in EXTRACT (…).
//
// These keywords are left out, although they are of those kinds:
//
//   - substring and overlay, because substring(a, b) is looked up like any other name;
//   - treat, which is refused;
//   - system_user, merge_action and all of json…: they became keywords in 16 and 17, and in older versions a user's function may have the name.
//
// Keywords that may be functions (type_func_name_keyword: left, join, like …) count as functions, except where [calls.syntax] knows that they are
// not.
var notCalled = words{
	"all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "between", "bigint", "bit", "boolean", "both", "case", "cast",
	"char", "character", "check", "coalesce", "collate", "column", "constraint", "create", "current_catalog", "current_date", "current_role",
	"current_time", "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable", "desc", "distinct", "do", "else", "end",
	"except", "exists", "extract", "false", "fetch", "float", "for", "foreign", "from", "grant", "greatest", "group", "grouping", "having", "in",
	"initially", "inout", "int", "integer", "intersect", "interval", "into", "lateral", "leading", "least", "limit", "localtime", "localtimestamp",
	"national", "nchar", "none", "normalize", "not", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out", "placing",
	"position", "precision", "primary", "real", "references", "returning", "row", "select", "session_user", "setof", "smallint", "some", "symmetric",
	"table", "then", "time", "timestamp", "to", "trailing", "trim", "true", "union", "unique", "user", "using", "values", "varchar", "variadic",
	"when", "where", "window", "with", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi",
	"xmlroot", "xmlserialize", "xmltable",
}

// words is a sorted list of words. Unlike a map it costs nothing when the process starts.
type words []string

// has reports whether word is in the list.
func (w words) has(word string) bool {
	_, found := slices.BinarySearch(w, word)
	return found
}
