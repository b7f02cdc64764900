// Package facts knows what the database says about the names that statements mention: may a name be, or lead to, code that the user has written?
//
// prove.go says which facts are missing for a statement, and what follows from those that are known; sign.go asks the server for them with the
// questions of sql.go; find.go reads the answers; facts.go keeps them, and sign.go finds out when they are wrong.
//
// There are separate facts for each baseline: a database, and all that decides what a name means there (role, search_path …). Statements are judged by
// the facts of the newest connection.
//
// # What is the user's own
//
// Neither a blocklist nor a read-only session proves a read harmless: a function can swallow the read-only error and report success, call set_config,
// take an advisory lock, or notify. A plan does not prove it either. A plan does not show t.f for f(t) in IN, VALUES and LIMIT, and does not show casts,
// domains and operators. So this package asks another question: could any code of the user's own run? The catalogs answer it.
//
// A function is the user's own unless it is built-in, in Config.LaneFunctions, a range's constructor, a trigger function in PL/pgSQL, or a trusted
// function of an extension. A trusted function is declared as not volatile, is written in C or SQL or has a search_path of its own, and takes no SQL and
// no relation's name as an argument (crosstab, connectby, xpath_table and pgRouting's functions do). If a trusted function is in SQL and looks names up
// in the caller's search_path, its body is judged like a text. A function that sets something on which the meaning of texts depends (such as TimeZone)
// is never trusted, not even in LaneFunctions: functions that it calls would make plans with that meaning and keep them.
//
// An operator is the user's own if the user has written the function of the operator, of its negator or commutator, of its operator family (unless the
// operator is in a built-in family too), or of a cast to one of its types. The planner may use any of these functions by itself.
//
// # What a name leads to
//
// A relation leads to what its view definition and its policies read. It leads to the types of its columns and the types inside these (elements,
// attributes, domains' bases, ranges' subtypes), to its children and, if it is a partition, to its parents' keys. It leads to the expressions of indexes,
// CHECKs, partition keys, statistics and generated columns, since planning runs them. A relation that is written also leads to its defaults, rules and
// triggers, and to the tables that foreign keys change or read.
//
// A type counts as the user's code if the user has given it a cast, an operator class or family, a range's function or a domain's check. If a built-in
// type has one of these, nothing is proven. Nothing is proven for foreign tables, temporary tables and tables of other access methods. Code in C that
// only a superuser can install (input and output functions, dictionaries, hooks) is trusted.
//
// Facts are about names, not texts: a new text that has only known names needs no question. After a statement with unknown names has run, the questions
// are asked on its connection, when nobody is in the way (package isolation, session.go). They use only indexes and so take 10 ms at most on a connection
// that has asked before. On a new one the server first fills its caches and plans them, which takes 20 to 80 ms. The planner would not use them by itself, because it expects thousands
// of rows. jit is off, because compiling a question takes longer than running it.
//
// # What code of the user's own leaves
//
// A body in SQL or PL/pgSQL is read like a text (sqltext.BodyOf): what it calls and mentions is followed through views, triggers, operators, domains
// and other functions. From that it is known what the function leaves, if the body has at most 8 KB and no SET, EXECUTE, CREATE or other command, and
// the function sets nothing except search_path. The body's names are looked up in that search_path too, and in the schema of the role as which it runs:
// the function's owner, or the owner of a table that a foreign key changes. The defaults of its arguments count as a part of the body. Everything else
// may leave anything: other languages, casts and operator classes of the user's own, rules, more than 64 bodies. A few of extensions' volatile
// functions in C are known to leave nothing (uuid_generate_v4, pgcrypto's functions).
//
// # When facts end
//
// PostgreSQL does not report that something was created or altered. So the pool asks for the sign every 400 ms: a sum over those rows of the catalogs
// from which facts were derived, in which each row counts with a hash of its key and of the transaction that wrote it. If the sign differs, or if a fact comes back with another sign than it had, all facts are asked for again. If the last
// right sign is older than 800 ms, no ride is sent. If the last right sign is older than a second when a ride's answer is read, the answer is dropped.
// So an answer that a change of the catalogs has made wrong is never given later than a second after that change's commit. The sign needs no
// statistics (track_counts), and works on standbys.
//
// # Invariants
//
//   - What is not known is not proven. A question that fails, or an answer that cannot be read, proves nothing.
//   - A proof holds for one generation of one baseline's facts: see [Proven].
//   - No name in a question's own SQL is looked up by search_path, so that no function of the user's runs.
//   - [Facts] are safe for concurrent use. One goroutine at a time asks for a sign. Facts know no statement, no pool and no lane.
//
// Not covered: an extension's function that its owner makes volatile while a view calls it; a superuser who replaces a built-in function; a new server, after a failover or a switch-over, on which a transaction of the same number
// has written the same row of the catalogs otherwise; several standbys behind one name, since the sign of one of them counts for all.
package facts
