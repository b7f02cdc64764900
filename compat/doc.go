// Package compat has pgxpool's own tests judge lmipool: those of the version of pgx that go.mod names, taken from the module cache when the
// test runs. Package pgxpool below it has the names that they use.
package compat
