package sqltext

// Body is what the body of a function mentions and calls, and what it leaves by other words.
type Body struct {
	Mentions  Mentions
	Functions []Function
	Trace     Trace // NoTrace: what it calls says all; AnyTrace, LastingTrace: it does more
	Dynamic   bool  // what it mentions is not all that it runs
}

// maxBody is how long a body may be, in bytes, to be read.
const maxBody = 8 << 10

// BodyOf reads the body of a function in SQL, or in PL/pgSQL if procedural. The body leaves AnyTrace if it may do more than
// query and change data and call functions: SET, CREATE and the like, dynamic EXECUTE, an event of which nobody knows what it
// runs (TRUNCATE and its triggers). The text has to be read as it is with standard_conforming_strings on.
func BodyOf(src string, procedural bool) (b Body) {
	tokens, refused := lex(src)
	if refused != "" || len(src) > maxBody {
		return Body{Trace: AnyTrace, Dynamic: true}
	}
	b.Mentions = mention(tokens)
	at := func(i int) token {
		if i < 0 || i >= len(tokens) {
			return token{kind: symbol}
		}
		return tokens[i]
	}
	updates := false // the statement that is being read has the word UPDATE, so SET may be a part of it
	for i, t := range tokens {
		switch {
		case t.is(";"), t.is(">") && at(i-1).is(">"), t.word("begin", "then", "else", "loop"): // here a statement may begin
			updates = false
		case t.word("update"):
			updates = true
		case t.word("execute", "do", "call", "prepare") && !at(i+1).word("nothing", "update"):
			b.Trace, b.Dynamic = AnyTrace, true
		case t.word("set") && !updates,
			t.word("into") && !procedural && !at(i-1).word("insert", "merge"),
			t.word("hold") && at(i-1).word("with"),
			t.word("comment") && at(i+1).word("on"),
			t.word("security") && at(i+1).word("label"),
			t.word("alter", "analyse", "analyze", "checkpoint", "cluster", "copy", "create", "deallocate", "discard",
				"drop", "explain", "grant", "import", "listen", "reassign", "refresh", "reindex", "reset",
				"revoke", "temp", "temporary", "treat", "truncate", "unlisten", "vacuum"),
			t.name() && t.text == "pg_temp":
			b.Trace = AnyTrace
		case t.word("load") && at(i+1).kind == literal:
			b.Trace, b.Dynamic = LastingTrace, true
			return b
		}
	}
	c := calls{}
	if c.find(tokens); c.Refused != "" {
		b.Trace = AnyTrace
	}
	if lasts(tokens) || compiles(tokens) {
		b.Trace = LastingTrace
	}
	b.Functions = c.Functions
	return b
}
