package pgtest_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(asVictim) != "" {
		victim()
	}
	code := pgtest.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// asVictim makes this test binary start a server, say where, and wait to be killed.
const asVictim = "PGTEST_VICTIM"

func victim() {
	s, err := pgtest.Start(context.Background(), pgtest.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Addr(), s.ConnString())
	select {}
}
