package lmiotel

import (
	"strings"

	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/observe"
)

// operations are the names that db.operation.name can have. A statement that begins with another word has none of its own, so that what users send
// cannot make any number of time series.
var operations = func() map[string]string {
	names := map[string]string{}
	for name := range strings.FieldsSeq("SELECT INSERT UPDATE DELETE MERGE WITH VALUES TABLE CALL DO SET RESET SHOW BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE" +
		" CREATE ALTER DROP TRUNCATE COPY LOCK LISTEN UNLISTEN NOTIFY EXPLAIN ANALYZE VACUUM REFRESH GRANT REVOKE PREPARE EXECUTE DEALLOCATE" +
		" DECLARE FETCH MOVE CLOSE DISCARD COMMENT REINDEX CLUSTER CHECKPOINT") {
		names[name], names[strings.ToLower(name)] = name, name
	}
	return names
}()

// operation returns db.operation.name of a statement: the first word of its text, or what the call does.
func operation(e observe.Statement) string {
	switch e.Op {
	case observe.Batch:
		return "BATCH"
	case observe.Copy:
		return "COPY"
	}
	end := 0
	for end < len(e.SQL) && e.SQL[end] > ' ' {
		end++
	}
	name := operations[e.SQL[:end]] // of most texts, and ten times as fast
	if name == "" {
		name = operations[sqltext.First(e.SQL)]
	}
	if name != "" {
		return name
	}
	return strings.ToUpper(string(e.Op))
}
