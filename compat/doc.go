// Package compat runs pgxpool's own tests against lmipool: the tests of the pgx version in go.mod, which it reads from the module cache. Package
// pgxpool in its subdirectory has the names that those tests use.
package compat
