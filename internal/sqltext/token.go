package sqltext

import "slices"

type kind uint8

const (
	word    kind = iota // an identifier or keyword without quotes, folded
	quoted              // an identifier in quotes, without them
	literal             // a string or number; what is in it does not matter
	param               // $1
	symbol              // "::", or one character of punctuation or of an operator
)

type token struct {
	kind kind
	text string // of a word, quoted or symbol, and of a string in plain quotes that has no backslash, doubled quote or part on another line
}

func (t token) is(text string) bool { return t.kind == symbol && t.text == text }

func (t token) name() bool { return t.kind == word || t.kind == quoted }

func (t token) word(words ...string) bool {
	return t.kind == word && slices.Contains(words, t.text)
}

// tokens are those of a text, or of one of its statements.
type tokens []token

// at returns the token at i, or an empty symbol if there is none.
func (ts tokens) at(i int) token {
	if i < 0 || i >= len(ts) {
		return token{kind: symbol}
	}
	return ts[i]
}

// first returns the first token that is no opening parenthesis, or an empty symbol if there is none.
func (ts tokens) first() token {
	i := 0
	for ts.at(i).is("(") {
		i++
	}
	return ts.at(i)
}

// statements cuts the tokens of a text at its semicolons. Statements without tokens are left out.
func (ts tokens) statements() (all []tokens) {
	from := 0
	for i := range len(ts) + 1 {
		if i < len(ts) && !ts[i].is(";") {
			continue
		}
		if i > from {
			all = append(all, ts[from:i])
		}
		from = i + 1
	}
	return all
}

// oneStatement returns ts without the semicolon at their end, and refuses any other semicolon.
func oneStatement(ts tokens) (tokens, string) {
	for i, t := range ts {
		if t.is(";") {
			if i+1 < len(ts) {
				return nil, "two statements"
			}
			return ts[:i], ""
		}
	}
	return ts, ""
}
