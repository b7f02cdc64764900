// Package catalog answers two questions about a statement, by its text: may it share a connection with the statements of other callers, and what does it
// leave in its session?
//
// The pool asks the first question when no connection is idle, since only then statements share. It asks the second one for each statement that runs
// alone, because what the statement leaves has to be taken away. Package facts, which this package uses, asks the database about names.
//
// # Who may share a connection
//
// A statement may share if all of the following holds. Package pool checks what depends on the call and not on the text: a mode, a transaction of the
// same invocation, Alone.
//
//  1. the text (sqltext.Scan, a scanner, no parser) begins with SELECT, VALUES, TABLE or WITH and has no locking clause, no INTO, no second
//     statement, no data-modifying word, nothing that the scanner is not sure about;
//  2. every function that the statement calls is one of these: a built-in that is known to have only its result as an effect (sqltext.Harmless: never
//     volatile in PostgreSQL 14 to 18, and read through by hand); an extension's function that is declared not volatile; a function in
//     Config.LaneFunctions; current_setting of a literal name with a dot;
//  3. package facts proves that nothing that the statement mentions (sqltext.Mention) is or calls the user's own code. Every name in front of a
//     parenthesis may be a function, and every name behind a dot a function of one argument. Every operator may be the user's, and every keyword that
//     stands for one (IN, USING, NATURAL, NULLIF, CASE, DISTINCT, BETWEEN, LIKE …). Every other name may be a relation or a type;
//  4. the types of its parameters and columns do not call the user's code either, and the connection's type map knows the parameters' types;
//  5. the statement usually takes less than 10 ms and returns less than 64 KB.
//
// # Invariants
//
//   - A statement is judged by one generation of facts. If its proof does not hold any more, it is proven again when it is next asked for.
//   - A [Description] never changes: when the statement means something else, it gets another one. A [Text] never changes either.
//   - One mutex guards all statements of a store. While it is held, no server is asked and the user's code does not run.
package catalog
