package policy

import (
	"bytes"
	"strings"
)

// entry is a statement in an index, with the words that a decision by it needs:
// they are written once, so that deciding allocates nothing.
type entry struct {
	*statement
	document string
	rule     string
	reason   string
}

// index finds the few statements that can speak about a request. Every
// statement is listed under its actions, its principals and the literal starts
// of its resources; the shortest of the three lists leads and the other two
// questions are asked of its members.
type index struct {
	entries []entry
	masks   []actionMask // by entry

	actions     [actionCount][]uint32
	everyAction []uint32

	principals map[string][]uint32 // by account and ARN
	everyone   []uint32            // "*", NotPrincipal, and identity documents

	resources trie
}

func (x *index) add(e entry) {
	id := uint32(len(x.entries))
	x.entries = append(x.entries, e)
	x.masks = append(x.masks, e.actions)
	if e.actions == allActions {
		x.everyAction = append(x.everyAction, id)
	} else {
		for a := Action(1); a < actionCount; a++ {
			if e.actions&maskOf(a) != 0 {
				x.actions[a] = append(x.actions[a], id)
			}
		}
	}
	if e.principals.any || e.principals.not || len(e.principals.names) == 0 {
		x.everyone = append(x.everyone, id)
	} else {
		if x.principals == nil {
			x.principals = map[string][]uint32{}
		}
		for _, name := range e.principals.names {
			x.principals[name] = append(x.principals[name], id)
		}
	}
	if e.anyResource || e.notResource {
		x.resources.insert("", id)
		return
	}
	for i := range e.resources {
		x.resources.insert(e.resources[i].prefix(), id)
	}
}

// find returns the first Deny and the first Allow that match, nil for none.
// After a Deny the Allow is not looked for.
func (x *index) find(q *Request, arn []byte) (deny, allow *entry) {
	f := finder{x: x, q: q, arn: arn, mask: maskOf(q.Action), deny: -1, allow: -1}
	c := &q.Caller
	who := [...][]uint32{x.everyone, x.principals[c.Account], x.principals[c.ARN], x.principals[c.RoleARN]}
	what := [...][]uint32{x.everyAction, x.actions[q.Action]}
	byWho, byWhat, byWhere := 0, len(what[0])+len(what[1]), 0
	for i := range who {
		byWho += len(who[i])
	}
	for t, rest := &x.resources, arn; t != nil; t, rest = t.next(rest) {
		byWhere += len(t.ids)
	}
	switch {
	case byWho <= byWhat && byWho <= byWhere:
		for i := range who {
			f.try(who[i])
		}
	case byWhat <= byWhere:
		for i := range what {
			f.try(what[i])
		}
	default:
		for t, rest := &x.resources, arn; t != nil; t, rest = t.next(rest) {
			f.try(t.ids)
		}
	}
	if f.deny >= 0 {
		return &x.entries[f.deny], nil
	}
	if f.allow >= 0 {
		return nil, &x.entries[f.allow]
	}
	return nil, nil
}

// finder is one search in one index.
type finder struct {
	x           *index
	q           *Request
	arn         []byte
	mask        actionMask
	deny, allow int // lowest entry that matches, so that the order of lists does not show; -1
}

func (f *finder) try(ids []uint32) {
	for _, id := range ids {
		if f.x.masks[id]&f.mask == 0 {
			continue
		}
		e, n := &f.x.entries[id], int(id)
		if e.deny {
			if (f.deny < 0 || n < f.deny) && e.matches(f.q, f.arn) {
				f.deny = n
			}
		} else if f.deny < 0 && (f.allow < 0 || n < f.allow) && e.matches(f.q, f.arn) {
			f.allow = n
		}
	}
}

// matches asks all but the action.
func (s *statement) matches(q *Request, arn []byte) bool {
	if !s.matchesPrincipal(&q.Caller) || !s.matchesResource(arn, &q.Caller) {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(q) {
			return false
		}
	}
	return true
}

// matchesPrincipal is true for the statements of identity documents.
func (s *statement) matchesPrincipal(c *Caller) bool {
	p := &s.principals
	return !p.any && len(p.names) == 0 || p.speaksTo(c)
}

func (s *statement) matchesResource(arn []byte, c *Caller) bool {
	if s.anyResource {
		return true
	}
	for i := range s.resources {
		if s.unboundNever && s.resources[i].unresolved(c) {
			return false
		}
		if matchText(&s.resources[i], arn, c) {
			return !s.notResource
		}
	}
	return s.notResource
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
