// Package catalog keeps what is known about statements, by their text: may the statement share a connection with those of other callers, and what
// does it leave in its session?
//
// The pool asks the first question when no connection is idle; before that it does not matter. It asks the second one for each statement that runs
// alone, because what the statement leaves has to be taken away. What the database says of names is in package facts, which this package uses.
//
// # Who may share a connection
//
// A statement may share if all of the following holds. Package pool checks what depends on the call and not on the text: a mode, a transaction of the
// same invocation, Alone.
//
//  1. the text (sqltext.Scan, a scanner, no parser) begins with SELECT, VALUES, TABLE or WITH and has no locking clause, no INTO, no second
//     statement, no data-modifying word, nothing that the scanner is not sure about;
//  2. every function that it calls is one of these: a built-in that is known to have no effect but its result (sqltext.Harmless: never volatile in
//     PostgreSQL 14 to 18, and read through by hand); a function of an extension that declares it not volatile; one in Config.LaneFunctions;
//     current_setting of a literal name with a dot;
//  3. package facts proves that nothing that it mentions (sqltext.Mention) is code of the user's own or leads to some. Every name in front of a
//     parenthesis may be a function, and every name behind a dot a function of one argument. Every operator may be the user's, and every keyword that
//     stands for one (IN, USING, NATURAL, NULLIF, CASE, DISTINCT, BETWEEN, LIKE …). Every other name may be a relation or a type;
//  4. the types of its parameters and columns do not lead to the user's code either, and the connection's type map knows the parameters' types;
//  5. it usually takes less than 10 ms and returns less than 64 KB.
//
// # Invariants
//
//   - A statement is judged by one generation of facts. If its proof does not hold any more, it is proven anew when it is next asked for.
//   - A [Description] never changes: when the statement means something else, it gets another one. A [Text] never changes either.
//   - One mutex guards all statements of a store. While it is held, no server is asked and no code of the user's runs.
package catalog
