package pgdial

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
)

// pgx 5.12 fixed two vulnerabilities that certain settings expose:
//
//   - GHSA-j38q-h3ph-jjpq: SQL injection through SendBatch in the simple protocol;
//   - GHSA-95fj-3fxw-g62g: require_auth and channel_binding=require can be bypassed
//     by an impersonator where TLS does not verify the server.
//
// lmipool supports 5.11 because no release of pgxmock compiles with 5.12, so it refuses the settings there instead.
//
// 5.12 added Tx to BatchResults in the same release; build information, the
// other way to know, is not in every binary.
var fixedIn512 = func() bool {
	_, ok := reflect.TypeFor[pgx.BatchResults]().MethodByName("Tx")
	return ok
}()

// RefuseUnsafe reports the settings of cc that this pgx must not be used with.
func RefuseUnsafe(cc *pgx.ConnConfig) error {
	if fixedIn512 {
		return nil
	}
	var errs []error
	refuse := func(setting, advisory, instead string) {
		errs = append(errs, fmt.Errorf("lmipool: %s is not safe with this pgx (%s): use pgx 5.12 or later, or %s", setting, advisory, instead))
	}
	if cc.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		refuse("default_query_exec_mode=simple_protocol", "GHSA-j38q-h3ph-jjpq", "default_query_exec_mode=exec")
	}
	// verify-full is what leaves ServerName to check and nothing skipped.
	if t := cc.TLSConfig; t == nil || t.InsecureSkipVerify {
		const instead = "sslmode=verify-full"
		if len(cc.RequireAuth) > 0 {
			refuse("require_auth without a verified server", "GHSA-95fj-3fxw-g62g", instead)
		}
		if cc.ChannelBinding == "require" {
			refuse("channel_binding=require without a verified server", "GHSA-95fj-3fxw-g62g", instead)
		}
	}
	return errors.Join(errs...)
}
