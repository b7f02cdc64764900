// Package sql runs other people's tests of database/sql against lmipool's package stdlib, and River's on a companion, from their modules. It is a module of its own, so
// that what they depend on is not in the library's go.mod.
package sql
