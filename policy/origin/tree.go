package origin

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tree is the set of package groups of one domain. It is immutable and safe for
// concurrent use; Create, Replace and Delete return changed copies.
type Tree struct {
	root    *node
	formats map[string]*formatIndex
	groups  map[string]*node // by normalised pattern
	order   []*node          // by pattern
}

// node is one group in its tree.
type node struct {
	pattern  Pattern
	text     string // pattern.String()
	folded   int    // bytes of the last component, folded
	group    Group
	parent   *node
	children []*node
	settings [3]Setting // in the order of Types
	givers   [3]*node   // who gives the effective mode: n or an ancestor
}

// formatIndex finds the groups of one format. One table for each form, so that a
// lookup goes from the most specific form to the least.
type formatIndex struct {
	all                                           *node
	namespacePrefix, namespace, namePrefix, exact table
}

type key struct{ namespace, name string }

// table maps what patterns of one form name, as spelled and folded, to groups. The
// two numbers are the bytes of the longest name in each map, beyond which no prefix
// need be looked up.
type table struct {
	strong, weak       map[key]*node
	maxStrong, maxWeak int
}

func newTable() table { return table{strong: map[key]*node{}, weak: map[key]*node{}} }

// New builds the tree of a domain's groups. The root exists whether it has a row
// or not. Two rows with one pattern are ErrConflict, illegal rows ErrValidation.
func New(groups []Group) (*Tree, error) {
	t := &Tree{formats: map[string]*formatIndex{}, groups: make(map[string]*node, len(groups)+1)}
	for _, g := range groups {
		if err := t.add(g); err != nil {
			return nil, err
		}
	}
	if t.groups[Root] == nil {
		if err := t.add(Group{Pattern: Root}); err != nil {
			return nil, err
		}
	}
	t.root = t.groups[Root]
	t.link()
	return t, nil
}

// add enters one group into the maps.
func (t *Tree) add(row Group) error {
	g, p, err := row.normal()
	if err != nil {
		return err
	}
	if t.groups[g.Pattern] != nil {
		return refuse(ErrConflict, "package group %s already exists", g.Pattern)
	}
	n := &node{pattern: p, text: g.Pattern, group: g}
	t.groups[n.text] = n
	t.order = append(t.order, n)
	if p.form == FormRoot {
		return nil
	}
	x := t.formats[p.format]
	if x == nil {
		x = &formatIndex{namespacePrefix: newTable(), namespace: newTable(), namePrefix: newTable(), exact: newTable()}
		t.formats[p.format] = x
	}
	switch p.form {
	case FormFormat:
		x.all = n
	case FormNamespacePrefix:
		x.namespacePrefix.put(n)
	case FormNamespace:
		x.namespace.put(n)
	case FormNamePrefix:
		x.namePrefix.put(n)
	case FormExact:
		x.exact.put(n)
	}
	return nil
}

func (t *table) put(n *node) {
	named := key{n.pattern.namespace, n.pattern.name}
	if n.pattern.form == FormNamespacePrefix {
		named = key{"", n.pattern.namespace}
	}
	folded := key{Fold(named.namespace), Fold(named.name)}
	n.folded = len(folded.name)
	t.maxStrong, t.maxWeak = max(t.maxStrong, len(named.name)), max(t.maxWeak, n.folded)
	t.strong[named] = n
	if other := t.weak[folded]; other == nil || comparePatterns(n.text, other.text) > 0 {
		t.weak[folded] = n
	}
}

// comparePatterns orders patterns that fold alike, for coordinates that match
// them only weakly: the longer one wins, then the first in the alphabet.
func comparePatterns(a, b string) int {
	if c := cmp.Compare(utf8.RuneCountInString(a), utf8.RuneCountInString(b)); c != 0 {
		return c
	}
	return strings.Compare(b, a)
}

// link finds parents, children and effective settings.
func (t *Tree) link() {
	slices.SortFunc(t.order, func(a, b *node) int { return strings.Compare(a.text, b.text) })
	for _, n := range t.order {
		if n.parent = t.parentOf(n.pattern); n.parent != nil {
			n.parent.children = append(n.parent.children, n)
		}
	}
	t.root.settle()
}

// parentOf returns the most specific other group that covers everything that p
// covers, as spelled. Parents do not follow from likeness: a group for
// "/npm//Foo_Bar$" is no child of "/npm//foo-bar~".
func (t *Tree) parentOf(p Pattern) *node {
	if p.form == FormRoot {
		return nil
	}
	x := t.formats[p.format]
	if p.form >= FormNamePrefix {
		limit := len(p.name)
		if p.form == FormNamePrefix {
			limit--
		}
		if n := x.namePrefix.longest(p.namespace, p.name, limit); n != nil {
			return n
		}
		if n := x.namespace.strong[key{p.namespace, ""}]; n != nil {
			return n
		}
	}
	if p.form >= FormNamespacePrefix {
		limit := len(p.namespace)
		if p.form == FormNamespacePrefix {
			limit--
		}
		if n := x.namespacePrefix.longest("", p.namespace, limit); n != nil {
			return n
		}
		if x.all != nil {
			return x.all
		}
	}
	return t.root
}

// longest finds the strong prefix with the most characters, at most limit bytes
// of s. Namespace prefixes are kept as names without a namespace.
func (t *table) longest(namespace, s string, limit int) *node {
	for i := wordEnd(s, min(limit, t.maxStrong)); i > 0; i = wordEnd(s, i-1) {
		if n := t.strong[key{namespace, s[:i]}]; n != nil {
			return n
		}
	}
	return nil
}
