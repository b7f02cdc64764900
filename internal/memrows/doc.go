// Package memrows holds a whole result, or its first row, in memory as pgx.Rows and pgx.Row, and decodes it after its connection has gone on to
// somebody else. It does what pgx's own Rows and Row do, in the same order and with the same errors.
//
// A [Set] is the Go side of the types of one connection, as it was at one moment. [Maps] keeps it until the user may have registered something.
//
// A pgtype.Map is not safe for concurrent use, and rows are decoded while their connection serves its next user. So a Set has a few copies of the
// Map, each for one row, result or argument list at a time. Two things are lost in a plain copy:
//
//   - Map.Copy shares the codecs, and EnumCodec caches what it decodes in a Go map. So copies have codecs of their own. The types inside an
//     anonymous record are known only from its value, so they get codecs of their own while it is decoded.
//   - Map.Copy does not copy what RegisterDefaultPgType has set for Go types. This decides how arguments are encoded, and how values of types
//     that nobody has loaded are read. So a copy asks for it when a destination turns up (types.go).
//
// Codecs of the user's own that keep a state are shared by all copies: the user must make them safe for concurrent use.
//
// A result may be decoded with the types of another connection than the one for which its arguments were encoded. [Pairs] compares them.
package memrows
