package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func lmiplan(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

func TestThePlanIsPrinted(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := lmiplan(strings.Fields(`-acu 8 -superuser-reserved 4 -reserved 2 -others 20 -environments 80 -concurrency 64 -roles 2 -role my"role`)...)
	assert.Equal(t, 0, code)
	assert.Empty(t, stderr)
	assert.Equal(t, `The database has these connections:
      1661  max_connections, estimated from 16 GiB of memory; SHOW max_connections tells the real number
       − 4  superuser_reserved_connections
       − 2  other reserved connections
      − 20  of other clients
    = 1635  for the function

What to configure:
  ALTER ROLE "my""role" CONNECTION LIMIT 817; -- the same for each of the 2 roles
  MaxExecutionEnvironments: 80 (up to 408 fit)
  LMIPOOL_MAX_CONNS=16
  LMIPOOL_MIN_CONNS=1
  LMIPOOL_FLEET_BUDGET=817, only if the role must have no limit; the shares are lower then, since nothing else stops a jump

Then each environment has at most:
        16  while the usual 3 run
        10  while 80 run
         5  during a deployment, while 2 versions have 80 each
         5  always, for LMIPOOL_MAX_CONNS where no fleet budget works, as behind a pooler
`, stdout)
}

func TestZeroReservedSlotsAreNotTheDefault(t *testing.T) {
	t.Parallel()
	code, stdout, _ := lmiplan("-max-connections", "100", "-superuser-reserved", "0", "-environments", "1", "-versions", "1", "-concurrency", "1")
	assert.Equal(t, 0, code)
	assert.Contains(t, stdout, "CONNECTION LIMIT 100;")
	assert.NotContains(t, stdout, "reserved_connections")
	assert.NotContains(t, stdout, "deployment")
}

func TestHelpNamesEachFlag(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := lmiplan("-h")
	assert.Equal(t, 0, code)
	assert.Equal(t, usage, stdout)
	assert.Empty(t, stderr)
	for _, name := range []string{"max-connections", "memory", "acu", "superuser-reserved", "reserved", "others", "auto-pause", "environments", "concurrency", "usual", "versions", "role", "roles"} {
		assert.Contains(t, stdout, "\n  -"+name+" ")
	}
}

func TestWhatCannotFitIsAnErrorWithNumbers(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := lmiplan("-max-connections", "100", "-environments", "60", "-concurrency", "64")
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Equal(t, "lmiplan: 2 versions × 60 environments need 121 connections, one for each and one for the next environment, but the role may have 97 (max_connections 100 less 3 reserved less 0 of other clients): "+
		"allow at most 48 environments, or raise max_connections to 124\n", stderr)
}

func TestWrongFlagsAreNamed(t *testing.T) {
	t.Parallel()
	const rest = " -environments 3 -concurrency 8"
	for args, message := range map[string]string{
		"":                                 "want one of -max-connections, -memory and -acu, got 0 of them",
		"-memory 4 -acu 2" + rest:          "want one of -max-connections, -memory and -acu, got 2 of them",
		"-max-connections 100":             "want -environments: managed instances have no default maximum",
		"-memory 4 -environments 3":        "want -concurrency: AWS_LAMBDA_MAX_CONCURRENCY, or 1 on any Lambda but managed instances",
		"-memory 4 -usual 5" + rest:        `invalid value "5" for flag -usual: want at most -environments, which is 3`,
		"-memory 4 more" + rest:            `"more" is no flag: want flags only`,
		"-memory 4GB" + rest:               `invalid value "4GB" for flag -memory: want a number from 1 to 100000`,
		"-memory NaN" + rest:               `invalid value "NaN" for flag -memory: want a number from 1 to 100000`,
		"-acu 0.5" + rest:                  `invalid value "0.5" for flag -acu: want a number from 1 to 256`,
		"-max-connections 0" + rest:        `invalid value "0" for flag -max-connections: want a whole number from 1 to 262143`,
		"-max-connections many" + rest:     `invalid value "many" for flag -max-connections: want a whole number from 1 to 262143`,
		"-memory 4 -superuser-reserved -1": `invalid value "-1" for flag -superuser-reserved: want a whole number from 0 to 262143`,
		"-memory 4 -reserved x":            `invalid value "x" for flag -reserved: want a whole number from 0 to 262143`,
		"-memory 4 -others 1.5":            `invalid value "1.5" for flag -others: want a whole number from 0 to 262143`,
		"-environments 15001":              `invalid value "15001" for flag -environments: want a whole number from 1 to 15000`,
		"-usual 0":                         `invalid value "0" for flag -usual: want a whole number from 1 to 15000`,
		"-concurrency 1601":                `invalid value "1601" for flag -concurrency: want a whole number from 1 to 1600`,
		"-versions 0":                      `invalid value "0" for flag -versions: want a whole number from 1 to 10`,
		"-roles 11":                        `invalid value "11" for flag -roles: want a whole number from 1 to 10`,
		"-auto-pause=maybe":                `invalid boolean value "maybe" for -auto-pause: parse error`,
		"-max-conns 5":                     "flag provided but not defined: -max-conns",
	} {
		code, stdout, stderr := lmiplan(strings.Fields(args)...)
		assert.Equal(t, 2, code, args)
		assert.Empty(t, stdout, args)
		assert.Equal(t, "lmiplan: "+message+"\nlmiplan -h tells more.\n", stderr)
	}
}
