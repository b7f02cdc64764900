// Package sql runs other people's tests of database/sql against lmipool's package stdlib, from their modules, as they are. It is a module of its own, so
// that what they depend on is not in the library's go.mod.
package sql
