package policy

import (
	"bytes"
	"strings"
)

// resourceIndex finds the statements whose resource patterns may match an ARN.
// Each pattern is listed once: under its literal start, or, where many begin
// alike (a wildcard for the region does that), under the rarest word in it. A
// word begins behind a : or / that is written out, and runs up to and with the
// next, or to a wildcard or the end; an ARN that matches has it in such a place.
type resourceIndex struct {
	starts trie
	words  trie
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
		x.words.insert(rarest, id)
	})
}

// count is how many statements are listed for an ARN.
func (x *resourceIndex) count(arn []byte) (n int) {
	for t, rest := &x.starts, arn; t != nil; t, rest = t.next(rest) {
		n += len(t.ids)
	}
	for from := x.firstWord(arn); from != nil; from = nextWord(from) {
		for t, rest := &x.words, from; t != nil; t, rest = t.next(rest) {
			n += len(t.ids)
		}
	}
	return n
}

// firstWord is arn from its first word on, nil where no pattern is listed
// under a word.
func (x *resourceIndex) firstWord(arn []byte) []byte {
	if len(x.words.heads) == 0 {
		return nil
	}
	return arn
}

// nextWord is s from its next word on; nil at the end.
func nextWord(s []byte) []byte {
	for i, c := range s {
		if c == ':' || c == '/' {
			return s[i+1:]
		}
	}
	return nil
}

// words are the words of a pattern, as they are listed.
func (g *glob) words() (out []string) {
	for i := range g.parts {
		if g.parts[i].kind != literal {
			continue
		}
		s := g.parts[i].text
		if i > 0 { // the literal may begin within a word
			s = s[strings.IndexAny(s, ":/")+1:]
			if len(s) == len(g.parts[i].text) {
				continue
			}
		}
		for s != "" {
			n := strings.IndexAny(s, ":/") + 1
			if n == 0 {
				n = len(s)
			}
			if s[0] != ':' && s[0] != '/' { // not what is empty
				out = append(out, s[:n])
			}
			s = s[n:]
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
