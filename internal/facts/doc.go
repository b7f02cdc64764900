// Package facts knows what the database says about the names that statements mention: may a name be, or lead to, code of the user's own?
//
// prove.go says which facts are missing for a statement, and what follows from those that are known; ask.go asks the server for them with the
// questions of sql.go; find.go reads the answers; facts.go keeps them, and sign.go finds out when they are wrong.
//
// There are facts for each baseline: a database, and all that decides what a name means there (role, search_path …). Statements are judged by those of
// the newest connection.
//
// # What is the user's own
//
// Neither a blocklist nor a read-only session proves a read harmless: a function can swallow the read-only error and report success, call set_config,
// take an advisory lock, or notify. A plan does not prove it either: it does not show t.f for f(t) in IN, VALUES and LIMIT, nor casts, domains and
// operators. So the question is another one: could any code of the user's own run? The catalogs tell.
//
// A function is the user's own unless it is built-in, in Config.LaneFunctions, a range's constructor, PL/pgSQL's trigger function, or a trusted one
// of an extension. That is one declared as not volatile, written in C or SQL or with a search_path of its own, which takes no SQL and no relation's
// name as an argument (crosstab, connectby, xpath_table and pgRouting's do). If a trusted function is in SQL and looks names up in the caller's
// search_path, its body is judged like a text. A function that sets something on which the meaning of texts depends (such as TimeZone) is never
// trusted, not even in LaneFunctions: what others plan inside it would keep that meaning.
//
// An operator is the user's own if one of these functions is: its own, its negator's or commutator's, one of its operator family (unless it is in a
// built-in family too), a cast to one of its types. The planner uses all of them by itself.
//
// # What a name leads to
//
// A relation leads to its views and policies and what they read; to its columns' types, and theirs (elements, attributes, domains' bases, ranges'
// subtypes); to its children and, for a partition, its parents' keys; to the expressions of indexes, CHECKs, partition keys, statistics and generated
// columns, since planning runs them. A relation that is written also leads to its defaults, rules and triggers, and to the tables that foreign keys
// change or read.
//
// A type counts as the user's code if it has a cast, an operator class or family, a range's function or a domain's check of the user's own; if a
// built-in type has one, nothing is proven. Nothing is proven for foreign and temporary tables, and for those of other access methods. Code in C that
// only a superuser can install is trusted (input and output functions, dictionaries, hooks).
//
// Facts are about names, not texts: a new text of known names needs no question. What is not known is asked for after the statement, on its
// connection, and by index only, which takes 10 ms at most: the planner would not choose that by itself, since it expects thousands of rows. jit is
// off, because compiling a question takes longer than running it.
//
// # What code of the user's own leaves
//
// A body in SQL or PL/pgSQL is read like a text (sqltext.BodyOf): what it calls and mentions is followed through views, triggers, operators, domains
// and other functions. That says what it leaves if it has at most 8 KB and no SET, EXECUTE, CREATE or other command, and the function sets nothing
// but search_path. Its names are looked up in that search_path too, and in the schema of the role that it runs as: the function's owner, or the owner
// of a table that a foreign key changes. The defaults of its arguments count as a part of the body. Nobody knows what anything else leaves: other
// languages, casts and operator classes of the user's own, rules, more than 64 bodies. Of extensions' volatile functions in C only a few are known to
// leave nothing (uuid_generate_v4, pgcrypto's).
//
// # When facts end
//
// PostgreSQL does not report that something was created or altered. So the sign is asked for every 400 ms: a sum over the rows of the catalogs that
// facts were derived from. If it differs, all facts are derived anew; so they are if a fact comes back with another sign than it had. If the last
// right sign is older than 800 ms, no ride is sent; if it is older than a second when a ride's answer is read, the answer is dropped. So an answer
// that a change of the catalogs has made wrong is never given later than a second after that change's commit. The sign needs no statistics
// (track_counts), and works on standbys.
//
// # Invariants
//
//   - What is not known is not proven. A question that fails, or an answer that cannot be read, proves nothing.
//   - A proof holds for one generation of one baseline's facts: see [Proven].
//   - Nothing in a question is looked up by search_path.
//   - [Facts] may be used by several goroutines at once; one at a time asks for a sign. They know no statement, no pool and no lane.
//
// Not covered: an extension's function that its owner makes volatile while a view calls it; a superuser who replaces a built-in function.
package facts
