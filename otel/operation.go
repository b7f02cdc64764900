package lmiotel

import (
	"strings"

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
	text := strings.TrimLeft(e.SQL, " \t\r\n(")
	end := strings.IndexFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
	if end < 0 {
		end = len(text)
	}
	word := text[:end]
	if name, ok := operations[word]; ok {
		return name
	}
	if name, ok := operations[strings.ToUpper(word)]; ok {
		return name
	}
	if strings.HasPrefix(text, "--") || strings.HasPrefix(text, "/*") {
		return operation(observe.Statement{Op: e.Op, SQL: strings.TrimLeft(afterComment(text), " \t\r\n")})
	}
	return strings.ToUpper(string(e.Op))
}

// afterComment returns what follows the comment that text begins with. A comment within a comment ends where the outer one does.
func afterComment(text string) string {
	if strings.HasPrefix(text, "--") {
		_, after, _ := strings.Cut(text, "\n")
		return after
	}
	for depth, i := 1, 2; i < len(text)-1; i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return text[i+1:]
			}
		}
	}
	return ""
}
