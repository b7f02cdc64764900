package fleet

import (
	"crypto/rand"
	"strings"
	"unicode/utf8"
)

// ID tells the environments of a fleet apart. Each pool has one, so two pools of one process are two members.
type ID string

// NewID returns a random ID. With its 40 bits, two of 1,000 environments have the same ID in one of two million fleets.
func NewID() ID { return ID(strings.ToLower(rand.Text()[:8])) }

// prefix begins the application_name of every lmipool connection.
const prefix = "lmipool/"

// NameSize is how many bytes of application_name PostgreSQL shows.
const NameSize = 63

// Name returns the application_name of a connection whose user calls it own: lmipool/<id>/<own>, cut at 63 bytes. If own already begins with the ID of a
// pool, that ID is replaced: own may come from the settings of another pool, or from a question for the present name.
func (id ID) Name(own string) string {
	if rest, is := strings.CutPrefix(own, prefix); is {
		if was, rest, is := strings.Cut(rest, "/"); is && len(was) == len(id) {
			own = rest
		}
	}
	front := prefix + string(id) + "/"
	name := front + own
	if len(name) <= NameSize {
		return name
	}
	end := NameSize
	for end > len(front) && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// IsIn reports whether a connection with this application_name counts for id.
func (id ID) IsIn(name string) bool { return strings.HasPrefix(name, prefix+string(id)+"/") }
