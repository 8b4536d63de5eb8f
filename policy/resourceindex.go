package policy

import (
	"bytes"
	"strings"
)

// resourceIndex finds the statements whose resource patterns may match an ARN.
// Each pattern is listed once: under its literal start, or, where many begin
// alike (a wildcard for the region does that), under the rarest whole word in
// it. A word is what stands between two of : and /, both written out, so an ARN
// that matches has it as a word, too.
type resourceIndex struct {
	starts trie
	words  map[string][]uint32
}

// crowd is the number of patterns with one start from which words are worth it.
const crowd = 8

func (x *resourceIndex) build(entries []entry) {
	starts, words := map[string]int{}, map[string]int{}
	each := func(do func(id uint32, g *glob)) {
		for i := range entries {
			e := &entries[i]
			if e.anyResource || e.notResource {
				do(uint32(i), &glob{})
				continue
			}
			for j := range e.resources {
				do(uint32(i), &e.resources[j])
			}
		}
	}
	each(func(_ uint32, g *glob) {
		starts[g.prefix()]++
		for _, w := range g.words() {
			words[w]++
		}
	})
	each(func(id uint32, g *glob) {
		rarest := ""
		for _, w := range g.words() {
			if rarest == "" || words[w] < words[rarest] {
				rarest = w
			}
		}
		if starts[g.prefix()] <= crowd || rarest == "" || words[rarest] > crowd {
			x.starts.insert(g.prefix(), id)
			return
		}
		if x.words == nil {
			x.words = map[string][]uint32{}
		}
		x.words[rarest] = append(x.words[rarest], id)
	})
}

// count is how many statements are listed for an ARN.
func (x *resourceIndex) count(arn []byte) (n int) {
	for t, rest := &x.starts, arn; t != nil; t, rest = t.next(rest) {
		n += len(t.ids)
	}
	for word, rest := x.firstWord(arn); word != nil; word, rest = nextWord(rest) {
		n += len(x.words[string(word)])
	}
	return n
}

// firstWord is nextWord, but nil where no pattern is listed under a word.
func (x *resourceIndex) firstWord(arn []byte) (word, rest []byte) {
	if x.words == nil {
		return nil, nil
	}
	return nextWord(arn)
}

// nextWord cuts the first word that is not empty; nil at the end.
func nextWord(s []byte) (word, rest []byte) {
	for len(s) > 0 && isBorder(s[0]) {
		s = s[1:]
	}
	if len(s) == 0 {
		return nil, nil
	}
	n := 0
	for n < len(s) && !isBorder(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func isBorder(c byte) bool { return c == ':' || c == '/' }

// words are the whole words of a pattern's literals.
func (g *glob) words() (out []string) {
	for i := range g.parts {
		if g.parts[i].kind != literal {
			continue
		}
		s := g.parts[i].text
		if i > 0 { // the literal may begin within a word
			at := strings.IndexAny(s, ":/")
			if at < 0 {
				continue
			}
			s = s[at:]
		}
		if i < len(g.parts)-1 { // and end within one
			s = s[:strings.LastIndexAny(s, ":/")+1]
		}
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '/' }) {
			out = append(out, w)
		}
	}
	return out
}

// trie holds ids under the literal starts of patterns. The zero value is empty.
type trie struct {
	label    string
	ids      []uint32
	heads    []byte // first bytes of the children's labels
	children []trie
}

func (t *trie) insert(s string, id uint32) {
	if s == "" {
		if n := len(t.ids); n == 0 || t.ids[n-1] != id {
			t.ids = append(t.ids, id)
		}
		return
	}
	at := bytes.IndexByte(t.heads, s[0])
	if at < 0 {
		t.heads = append(t.heads, s[0])
		t.children = append(t.children, trie{label: s, ids: []uint32{id}})
		return
	}
	c := &t.children[at]
	n := 1
	for n < len(s) && n < len(c.label) && s[n] == c.label[n] {
		n++
	}
	if n < len(c.label) { // split: the common start becomes the parent
		lower := *c
		lower.label = c.label[n:]
		*c = trie{label: strings.Clone(c.label[:n]), heads: []byte{lower.label[0]}, children: []trie{lower}}
	}
	c.insert(s[n:], id)
}

// next is the child that text goes on in, and what is left of text; nil at the
// end.
func (t *trie) next(text []byte) (*trie, []byte) {
	if len(text) == 0 {
		return nil, nil
	}
	at := bytes.IndexByte(t.heads, text[0])
	if at < 0 {
		return nil, nil
	}
	c := &t.children[at]
	if len(text) < len(c.label) || string(text[:len(c.label)]) != c.label {
		return nil, nil
	}
	return c, text[len(c.label):]
}
