// Package facts knows what the database itself says about the names that statements mention: may they be, or lead to, code of the user's own?
//
// The life of a fact: what is missing (prove.go) is asked for (ask.go) with a question (sql.go); the answer is read (find.go) and is a fact
// (fact.go), which is kept until it is wrong (facts.go, sign.go). What follows from facts is in reach.go and prove.go.
//
// # Words
//
//   - fact: what the catalogs say of one name, relation, type or function. A fact has a sign.
//   - node: a relation that is read, changed or inserted into, or a type. It leads to other nodes.
//   - baseline: a database and all that decides what a name means there (role, search_path …). Facts belong to one; each connection has one, and
//     statements are judged by the facts of the newest.
//   - proof: what follows from the facts for one text: may it run code of the user's own, and what does it leave in its session?
//   - sign: a sum over the rows of the catalogs that facts were derived from. While the server gives the same sum, they hold.
//
// # What is the user's own
//
// No blocklist and no read-only session proves a read harmless: a function can swallow the read-only error and report success, call set_config, take
// an advisory lock, notify. Neither does a plan: it shows neither t.f for f(t) in IN, VALUES and LIMIT, nor casts, domains and operators. So the
// question is turned round: could any code of the user's own run? The catalogs name it.
//
// It is every function that is not built-in, not in Config.LaneFunctions, not a range's constructor, no trigger function of PL/pgSQL, and not one of
// an extension that is to be trusted: one that says that it is not volatile, is in C or SQL or has a search_path of its own, and takes no SQL and no
// relation's name as an argument (crosstab, connectby, xpath_table, pgRouting's do). A trusted function in SQL that looks names up in the caller's
// search_path is trusted as far as what its body mentions is: the body is asked about like a text. No function that sets what decides what a text
// means (TimeZone, say) is, in LaneFunctions or not: what others plan inside it would keep that meaning.
//
// An operator is the user's own if its function is, or that of its negator or commutator, or one of an operator family that no built-in family stands
// before, or a cast to one of its types: the planner takes these without being asked.
//
// # What a name leads to
//
// One question for many names: the views and policies of a relation and what they read; its columns' types, and theirs (elements, attributes,
// domains' bases, ranges' subtypes); its children, for a partition the keys of its parents; the expressions of indexes, CHECKs, partition keys,
// statistics and generated columns, since planning runs them; and for what is written its defaults, rules, triggers, and the tables that foreign keys
// change, or look into.
//
// A type counts as the user's code if a cast, an operator class or family, a range's function or a domain's check of his goes with it; if that is a
// built-in type, nothing is proven. A foreign table, a temporary one and one of another access method are no good. Code in C that only a superuser
// installs is trusted (input and output functions, dictionaries, hooks).
//
// Facts are about names, not texts: a new text of known names needs no question. What is not known is asked for on the connection that ran the
// statement, after it, by index only, which takes 10 ms and less.
//
// # What code of the user's own leaves
//
// A body in SQL or PL/pgSQL is read like a text (sqltext.BodyOf): what it calls, and all that it mentions, through views, triggers, operators,
// domains and other functions. It says what it leaves if it is at most 8 KB, has no SET, EXECUTE, CREATE or other command, and the function sets
// nothing but search_path; then names are looked up in that path too, and in the schema of who it runs as: its owner, or that of a table which a
// foreign key changes. The defaults of its arguments are a part of it. Of everything else nobody knows what it leaves: other languages, casts and
// operator classes of the user's own, rules, more than 64 bodies. Of extensions' volatile functions in C only a few are known to leave nothing
// (uuid_generate_v4, pgcrypto's).
//
// # When facts end
//
// PostgreSQL tells nobody that something was created or altered. So the sign is asked for again every 400 ms; no ride is sent when the last right one
// is older than 800 ms, and no answer of a ride counts that is read when it is older than a second. So no answer that a change of the catalogs made
// wrong comes later than a second after its commit. If nothing was committed at all since, the snapshot says so and nothing is summed. The sign needs
// no statistics (track_counts) and holds on standbys.
//
// There are three sums: of names and what they lead to, of functions, of what is global. The part whose sum differs is derived anew; so is that of a
// fact which comes back with another sign than it had, and everything if a function's name means others by now, as after a rename, or it has come to
// or left an extension.
//
// # Invariants
//
//   - What is not known is not proven. A question that fails, or an answer that cannot be read, proves nothing.
//   - A proof holds for one generation of one baseline's facts: see [Proven].
//   - Nothing in a question is looked up by search_path.
//   - All of [Facts] may be used by anybody; one at a time asks for a sign. They know no statement, no pool and no lane.
//
// The questions run with jit off: to compile them takes seconds, to run them milliseconds; and by index only, which a planner that expects thousands
// of rows does not choose. Not covered: an extension's function that its owner makes volatile while a view calls it; a superuser who replaces a
// built-in function.
package facts
