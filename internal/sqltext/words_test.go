package sqltext_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/sqltext"
)

func TestTheWordsAreSorted(t *testing.T) {
	t.Parallel()
	for _, words := range sqltext.Words() {
		assert.True(t, slices.IsSorted(words), "a binary search does not find all of %q…", words[0])
		assert.Equal(t, slices.Compact(slices.Clone(words)), words, "a word is there twice")
	}
}
