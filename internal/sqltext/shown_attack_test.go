package sqltext

import (
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secrets are literals in every spelling, and broken those that nobody ends, or that end elsewhere than they seem to. What must not be shown of them is zq
// and 77.
var (
	secrets = []string{
		`'zq'`, `'z''zq'`, `E'zq\'zq'`, `e'\\zq'`, `N'zq'`, `U&'zq\0041'`, `u&'!0041zq' uescape '!'`, `B'77'`, `X'77'`, `x'77'`, `b'zq'`, `$$zq$$`, `$$zq$a$zq$$`, `$a$zq$$zq$a$`, `$ä$zq$ä$`,
		`77`, `77.77`, `.77`, `77e77`, `77e+77`, `0x77`, `0o77`, `0b77`, `1_77`, `77_`, `77e`, `0x77zq`, `77zq`, `-77`, `'zq'::text`, `'77'::int[]`, `date 'zq'`, `interval '77' day`, `int '77'`,
		`'{77,zq}'::int[]`, `array[77,'zq']`, `'{"zq":77}'::jsonb->'zq'`, "'zq'\n'zq'", "'zq' -- x\n'zq'", `/* zq */1`, "-- zq 77\n", `'zq'77`, `77'zq'`, `'zq'/* */'zq'`, "'zq\x00'", "'\xffzq'",
		"\v'zq'", `"a""b"'zq'`, `@-77`, `~77`, `(77)`, `$1'zq'`, `$1zq77`, `U&"d" 'zq'`,
	}
	broken = []string{`'zq\'`, `$a$zq`, `'zq`, `E'zq\`, `/* /* zq */ 'zq`, `/*zq`, `-- zq 77`, `$zq$zq`, `'zq''`, `E'zq\'`, `"zq`, `$$zq$`, `x'77`, `u&"zq`}
)

// between are the texts around them.
var between = []string{
	" ", "", "\n", ",", ";", "(", ")", "::", "->", "->>", "#>", "@>", "?", "??|", "=", " as n1 ", ` "n 1" `, " $1 ", "select ", "t1.c2", "||", "--\n", "/* a */", "\\", "é", "::numeric(", "\u2028", "\t", "E", "U&", "b", "x", "$", "'", `"`,
}

// TestNoPartOfALiteralIsShown puts literals of all spellings together at random, and ends half of the texts with one that is broken. It then puts all of it
// together without anything between, where nobody can say what is a literal: there it must not panic, and must leave no quote.
func TestNoPartOfALiteralIsShown(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	any := slices.Concat(secrets, broken, between)
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	for range 20_000 {
		var clean, mixed strings.Builder
		for range random.IntN(8) {
			clean.WriteString(pick(secrets) + pick([]string{" ", ", ", " as n1, ", "\n", "::text ", " || ", " /* a */ ", "->>"}))
			mixed.WriteString(pick(any) + pick(any))
		}
		if random.IntN(2) == 0 {
			clean.WriteString(pick(broken))
		}
		if shown := withoutNames(Normalize(clean.String())); strings.Contains(shown, "zq") || strings.Contains(shown, "77") || strings.Contains(shown, "'") {
			t.Fatalf("%q is shown as %q", clean.String(), shown)
		}
		if shown := withoutNames(Normalize(mixed.String())); strings.Contains(shown, "'") {
			t.Fatalf("%q is shown as %q", mixed.String(), shown)
		}
		Shown(mixed.String(), 1+random.IntN(40))
	}
}

// withoutNames takes the names in quotes out of a text that Normalize has made.
func withoutNames(shown string) string {
	var b strings.Builder
	for i, part := range strings.Split(shown, `"`) {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

// cpu is what this process has used of the CPUs. Unlike the clock, it stands still while other programs run.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestATextOfAMegabyteTakesLinearTime: a text that is ten times as long takes ten times as long, and not a hundred times, whatever it has.
// It is not parallel, since cpu counts the other tests too.
func TestATextOfAMegabyteTakesLinearTime(t *testing.T) {
	for _, piece := range append([]string{"/*", "$a$ ", "$", "(", "'a'\n", "'a' -- b\n ", "a.", `"a`, "--", "E'\\", `\'`, "1_", "\n\n", "é", "'a''"}, secrets...) {
		took := func(n int) time.Duration {
			sql, best := strings.Repeat(piece, n/len(piece)), time.Hour
			for range 3 {
				start := cpu(t)
				Normalize(sql)
				best = min(best, cpu(t)-start)
			}
			return best
		}
		short, long := took(20_000), took(200_000)
		assert.Less(t, long, 60*short+50*time.Millisecond, "%q: %s, and %s for ten times as much", piece, short, long)
	}
	sql := strings.Repeat("select 'zq' /* c */, $a$ b $a$ ", 1<<15)
	assert.NotContains(t, Normalize(sql), "zq")
}
