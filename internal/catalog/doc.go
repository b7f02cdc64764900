// Package catalog knows what is known about statements, by their text: may a text share a connection with those of others, and what does it leave in
// its session?
//
// It is consulted when no connection is idle, since until then nobody needs to know whether a statement may share one; and for all that runs alone,
// since what it leaves has to be taken away. What the database says of names is package facts, on which this one stands.
//
// # Words
//
//   - statement: one SQL text, with the names of the settings of pool.Pool.With that it runs with; one of the last 4096 that were wanted.
//   - description: a statement's parameters and columns as one connection had them described, with the Go side of their types.
//   - alone: not on a connection that carries statements of several callers. The reasons are in alone.go.
//   - look: to have a statement described, once at a time.
//
// # Who may share a connection
//
// All of this must hold. What depends on the call and not on the text (a mode, a transaction of the same invocation, Alone) is asked in pool.
//
//  1. the text (sqltext.Scan, a scanner, no parser) begins with SELECT, VALUES, TABLE or WITH and has no locking clause, no INTO, no second
//     statement, no data-modifying word, nothing that the scanner is not sure about;
//  2. every function that it calls is a built-in that is known to have no effect but its result (sqltext.Harmless: never volatile in PostgreSQL 14 to
//     18, and read through by hand), or of an extension that says that it is not volatile, or in Config.LaneFunctions, or reads, by a literal name, a
//     setting with a dot;
//  3. nothing that it mentions (sqltext.Mention) may be code of the user's own, or lead to some: that is proven by package facts. Every name in front
//     of a parenthesis may be a function; every name behind a dot one that takes one argument; every operator, and every keyword that stands for one
//     (IN, USING, NATURAL, NULLIF, CASE, DISTINCT, BETWEEN, LIKE …), the user's; every other name a relation or a type;
//  4. the same holds for the types of its parameters and columns; its arguments are of types that the connection's map knows;
//  5. it usually takes less than 10 ms and returns less than 64 KB.
//
// # Invariants
//
//   - A statement is judged by one generation of facts; a proof that does not hold any more is made anew where it is asked for.
//   - A [Description] never changes: when the statement means something else, it gets another one. A [Text] never changes either.
//   - What could not be described may be next time, five times. What the guard has stopped from writing never shares again, and leaves anything.
//   - One mutex guards all statements of a store. Nothing is asked of a server, and no code of the user's runs, while it is held.
//
// Texts that differ only in their comments are one statement. A text with comments that comes again gets a statement of its own; one that comes for
// the first time (a trace's id) is the one without.
package catalog
