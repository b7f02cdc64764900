package lmitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lmipool/lmipool/lambdaenv"
)

// Config says which handler to run, and in which environment. Only Command is required.
type Config struct {
	// Command is the handler's binary and its arguments. A name without a slash is looked up in PATH;
	// a relative path starts at the caller's working directory, not at Dir.
	Command []string

	// Env holds "KEY=value" pairs: the function's own variables. As on Lambda, names that begin with an underscore and names that Lambda itself sets
	// are dropped; LANG, TZ, PATH, LD_LIBRARY_PATH, AWS_LAMBDA_LOG_FORMAT, AWS_LAMBDA_LOG_LEVEL and the X-Ray settings may be replaced. The
	// credentials (AWS_ACCESS_KEY_ID and so on) may be given too: they stand for the function's role. The handler gets only PATH and HOME from the
	// caller's own environment. Values may be secrets, so a Config's text, logs and JSON leave them out.
	Env Environ

	// Dir is the handler's working directory and its LAMBDA_TASK_ROOT. Defaults to the caller's.
	Dir string

	// Kind is what the function runs on. Defaults to ManagedInstances. On the other kinds an environment runs one invocation at a time, starts when a
	// request finds none idle, and is killed when one times out.
	Kind lambdaenv.Kind

	// Concurrency is the number of invocations that one environment runs at once, 1 to 1600.
	// Defaults to 64 on managed instances. Elsewhere it is 1.
	Concurrency int

	// Environments is how many environments (processes) may run at once. Defaults to 1. On managed instances Start starts all of them.
	Environments int

	// Timeout is the function's timeout. The handler sees it as its context's deadline. Defaults to 3 s,
	// as on Lambda.
	Timeout time.Duration

	// InitTimeout bounds the time from a process's start to its first poll. Defaults to 10 s.
	InitTimeout time.Duration

	// MemoryMB is the value of AWS_LAMBDA_FUNCTION_MEMORY_SIZE; the memory is not limited. Defaults to 2048 on managed instances, to 128 elsewhere.
	MemoryMB int

	// FunctionName defaults to the base name of the command.
	FunctionName string

	// FunctionVersion defaults to $LATEST.PUBLISHED on managed instances, to $LATEST elsewhere.
	FunctionVersion string

	// Region is the value of AWS_REGION. Defaults to us-east-1.
	Region string

	// Stdout and Stderr take the output of the handlers' processes; writes never overlap, even if both are the same writer. Each defaults to
	// os.Stderr.
	Stdout, Stderr io.Writer

	// NoReplace means that a managed environment whose process has ended is not replaced. By default it is replaced at once. While the replacements
	// end within 10 s, each next one starts after a longer pause, up to 5 s.
	NoReplace bool
}

// withDefaults returns a copy of c with defaults for its unset fields, or an error if a field is wrong.
func (c Config) withDefaults() (Config, error) {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return c, errors.New("lmitest: Config.Command is empty: give the handler's binary")
	}
	path, err := exec.LookPath(c.Command[0])
	if err != nil {
		return c, fmt.Errorf("lmitest: Config.Command: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return c, fmt.Errorf("lmitest: Config.Command: %w", err)
	}
	c.Command = append([]string{path}, c.Command[1:]...)
	if c.Dir == "" {
		c.Dir = "."
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, fmt.Errorf("lmitest: Config.Dir: %w", err)
	}

	setDefault(&c.Kind, lambdaenv.ManagedInstances)
	if c.managed() {
		setDefault(&c.Concurrency, 64)
		setDefault(&c.MemoryMB, 2048)
		setDefault(&c.FunctionVersion, "$LATEST.PUBLISHED")
	} else {
		setDefault(&c.Concurrency, 1)
		setDefault(&c.MemoryMB, 128)
		setDefault(&c.FunctionVersion, "$LATEST")
	}
	setDefault(&c.Environments, 1)
	setDefault(&c.Timeout, 3*time.Second)
	setDefault(&c.InitTimeout, 10*time.Second)
	setDefault(&c.FunctionName, filepath.Base(path))
	setDefault(&c.Region, "us-east-1")
	if c.Stdout == nil {
		c.Stdout = os.Stderr
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}

	switch {
	case c.Kind > lambdaenv.ManagedInstances:
		return c, fmt.Errorf("lmitest: Config.Kind is %v: want one of lambdaenv's", c.Kind)
	case c.Concurrency < 1 || c.Concurrency > 1600:
		return c, fmt.Errorf("lmitest: Config.Concurrency is %d: want 1 to 1600", c.Concurrency)
	case c.Concurrency > 1 && !c.managed():
		return c, fmt.Errorf("lmitest: Config.Concurrency is %d: want 1 with Kind %v", c.Concurrency, c.Kind)
	case c.Environments < 1:
		return c, fmt.Errorf("lmitest: Config.Environments is %d: want 1 or more", c.Environments)
	case c.Timeout < time.Millisecond:
		return c, fmt.Errorf("lmitest: Config.Timeout is %v: want 1ms or more", c.Timeout)
	case c.InitTimeout < time.Millisecond:
		return c, fmt.Errorf("lmitest: Config.InitTimeout is %v: want 1ms or more", c.InitTimeout)
	case c.MemoryMB < 1:
		return c, fmt.Errorf("lmitest: Config.MemoryMB is %d: want 1 or more", c.MemoryMB)
	}
	return c, nil
}

// managed reports whether the function follows the rules of managed instances.
func (c *Config) managed() bool { return c.Kind == lambdaenv.ManagedInstances }

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Environ holds "KEY=value" pairs; any []string is assignable to it. Its text and JSON have only the keys, since values may be secrets and a failing
// test may log a Config.
type Environ []string

// Format shows c without the values of its Env.
func (c Config) Format(f fmt.State, verb rune) {
	type bare Config
	b := bare(c)
	b.Env = c.Env.keys()
	fmt.Fprintf(f, fmt.FormatString(f, verb), b)
}

// Format writes the keys, whatever the verb.
func (e Environ) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.keys()) }

// MarshalJSON encodes the keys.
func (e Environ) MarshalJSON() ([]byte, error) { return json.Marshal(e.keys()) }

func (e Environ) keys() []string {
	keys := make([]string, len(e))
	for i, kv := range e {
		keys[i], _, _ = strings.Cut(kv, "=")
	}
	return keys
}
