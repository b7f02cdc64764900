package lambdaenv_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lmipool/lmipool/lambdaenv"
)

// good is said independently of the code under test: the integers from 1 to 1,000,000, as strconv reads them.
var good = regexp.MustCompile(`^\+?0*([1-9]\d{0,5}|1000000)$`)

func FuzzDetect(f *testing.F) {
	f.Add("127.0.0.1:9001", "lambda-managed-instances", "64", "2048")
	f.Add("", "", "", "")
	f.Add("-unset", "-unset", "-unset", "-unset")
	f.Add("x", "on-demand", "abc", " 64 ")
	f.Add("x", "snap-start ", "0", "-3")
	f.Add("x", "provisioned-concurrency", "99999999999", "99999999999999999999")
	f.Fuzz(func(t *testing.T, runtimeAPI, kind, most, mb string) {
		// A value that begins with "-unset" takes its variable away.
		v := vars{}
		for name, value := range map[string]string{api: runtimeAPI, initType: kind, concurrency: most, memory: mb} {
			if !strings.HasPrefix(value, "-unset") {
				v[name] = value
			}
		}
		env, err := lambdaenv.DetectFunc(v.lookup)

		if env.MaxConcurrency < 1 {
			t.Errorf("MaxConcurrency = %d", env.MaxConcurrency)
		}
		if env.MemoryMB < 0 {
			t.Errorf("MemoryMB = %d", env.MemoryMB)
		}
		if (env.Kind == lambdaenv.NotLambda) != (v[api] == "") {
			t.Errorf("%v with %s=%q", env.Kind, api, v[api])
		}
		types := []string{"on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances"}
		for name, ok := range map[string]bool{
			initType:    slices.Contains(types, v[initType]),
			concurrency: good.MatchString(v[concurrency]),
			memory:      good.MatchString(v[memory]),
		} {
			_, set := v[name]
			if mentioned := err != nil && strings.Contains(err.Error(), name+"="); mentioned != (set && !ok) && !strings.Contains(kind+most+mb, name) {
				t.Errorf("%s=%q (set: %v): %v", name, v[name], set, err)
			}
		}
	})
}
