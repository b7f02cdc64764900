package sqltext

// Body is what the body of a function mentions and calls, and what it leaves in its session besides what the functions that it calls leave.
type Body struct {
	Mentions  Mentions
	Functions []Function
	Trace     Trace // NoTrace: it leaves only what the functions that it calls leave; AnyTrace, LastingTrace: it may leave more
	Dynamic   bool  // it may run code that it does not mention
}

// maxBody is the length in bytes of the longest body that BodyOf reads.
const maxBody = 8 << 10

// BodyOf reads the body of a function in SQL, or in PL/pgSQL if procedural, as with standard_conforming_strings on. The body leaves AnyTrace if it
// may do more than query and change data and call functions: SET, CREATE and the like, dynamic EXECUTE, or TRUNCATE, whose triggers are not known.
func BodyOf(src string, procedural bool) (b Body) {
	ts, refused := lex(src)
	if refused != "" || len(src) > maxBody {
		return Body{Trace: AnyTrace, Dynamic: true}
	}
	b.Mentions = mention(ts)
	updates := false // the present statement has the word UPDATE, so SET may be a part of it
	for i, t := range ts {
		switch {
		case t.is(";"), t.is(">") && ts.at(i-1).is(">"), t.word("begin", "then", "else", "loop"): // a statement may begin behind it
			updates = false
		case t.word("update"):
			updates = true
		case t.word("execute", "do", "call", "prepare") && !ts.at(i+1).word("nothing", "update"):
			b.Trace, b.Dynamic = AnyTrace, true
		case t.word("set") && !updates,
			t.word("into") && !procedural && !ts.at(i-1).word("insert", "merge"),
			t.word("hold") && ts.at(i-1).word("with"),
			t.word("comment") && ts.at(i+1).word("on"),
			t.word("security") && ts.at(i+1).word("label"),
			t.word("alter", "analyse", "analyze", "checkpoint", "cluster", "copy", "create", "deallocate", "discard",
				"drop", "explain", "grant", "import", "listen", "reassign", "refresh", "reindex", "reset",
				"revoke", "temp", "temporary", "treat", "truncate", "unlisten", "vacuum"),
			t.name() && t.text == "pg_temp":
			b.Trace = AnyTrace
		case t.word("load") && ts.at(i+1).kind == literal:
			b.Trace, b.Dynamic = LastingTrace, true
			return b
		}
	}
	c := calls{}
	if c.find(ts); c.Refused != "" {
		b.Trace = AnyTrace
	}
	if lasts(ts) || compiles(ts) {
		b.Trace = LastingTrace
	}
	b.Functions = c.Functions
	return b
}
