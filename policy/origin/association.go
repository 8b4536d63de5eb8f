package origin

import "slices"

// Associated returns the one group that c belongs to: the most specific that
// matches, strongly or weakly. Of two groups the one with the greater Form is more
// specific, then the one whose folded text is longer, then the one that matches
// strongly, then the longer one. strong is false for a variation of what the group
// names: such a package is blocked whatever the group allows.
func (t *Tree) Associated(c Coordinate) (g Group, strong bool) {
	n, strong := t.associate(c)
	return n.group, strong
}

func (t *Tree) associate(c Coordinate) (n *node, strong bool) {
	c = c.normal()
	x := t.formats[c.Format]
	if x == nil {
		return t.root, true
	}
	if n := x.exact.strong[key{c.Namespace, c.Name}]; n != nil {
		return n, true
	}
	folded := key{Fold(c.Namespace), Fold(c.Name)}
	if n := x.exact.weak[folded]; n != nil {
		return n, false
	}
	if n, strong := x.namePrefix.best(c.Namespace, c.Name, folded.namespace, folded.name); n != nil {
		return n, strong
	}
	if n := x.namespace.strong[key{c.Namespace, ""}]; n != nil {
		return n, true
	}
	if n := x.namespace.weak[key{folded.namespace, ""}]; n != nil {
		return n, false
	}
	if n, strong := x.namespacePrefix.best("", c.Namespace, "", folded.namespace); n != nil {
		return n, strong
	}
	if x.all != nil {
		return x.all, true
	}
	return t.root, true
}

// best finds the most specific prefix of s, strong or weak.
func (t *table) best(namespace, s, foldedNamespace, folded string) (n *node, strong bool) {
	n = t.longest(namespace, s, len(s))
	floor := 0
	if n != nil {
		floor = n.folded
	}
	for i := wordEnd(folded, min(len(folded), t.maxWeak)); i > floor; i = wordEnd(folded, i-1) {
		if w := t.weak[key{foldedNamespace, folded[:i]}]; w != nil {
			return w, false
		}
	}
	return n, n != nil
}

// Group returns the group of a pattern; it need not be normalised. The error is
// ErrValidation or ErrNotFound.
func (t *Tree) Group(pattern string) (Group, error) {
	n, err := t.node(pattern)
	if err != nil {
		return Group{}, err
	}
	return n.group, nil
}

func (t *Tree) node(pattern string) (*node, error) {
	p, err := ParsePattern(pattern)
	if err != nil {
		return nil, err
	}
	n := t.groups[p.String()]
	if n == nil {
		return nil, refuse(ErrNotFound, "package group %s does not exist", p)
	}
	return n, nil
}

// Groups returns all groups, the root included, sorted by pattern.
func (t *Tree) Groups() []Group { return groupsOf(t.order) }

func groupsOf(nodes []*node) []Group {
	out := make([]Group, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.group)
	}
	return out
}

// Parent returns the group directly above; ok is false for the root. The error is
// that of Group.
func (t *Tree) Parent(pattern string) (g Group, ok bool, err error) {
	n, err := t.node(pattern)
	if err != nil || n.parent == nil {
		return Group{}, false, err
	}
	return n.parent.group, true, nil
}

// Children returns the groups directly below, sorted by pattern. The error is that
// of Group.
func (t *Tree) Children(pattern string) ([]Group, error) {
	n, err := t.node(pattern)
	if err != nil {
		return nil, err
	}
	return groupsOf(n.children), nil
}

// Setting is what GroupDesc shows of one Type: the group's own mode and what it
// comes to.
type Setting struct {
	Mode          Mode
	EffectiveMode Mode     // never INHERIT
	InheritedFrom string   // the pattern that gives EffectiveMode; "" when Mode is not INHERIT
	Repositories  []string // the group's own list, sorted; read only
}

// settle works out the settings of n and of what is below it; those of the parent
// are known.
func (n *node) settle() {
	for i, typ := range Types() {
		m := n.group.Restrictions[typ]
		if m != Inherit {
			n.settings[i], n.givers[i] = Setting{Mode: m, EffectiveMode: m, Repositories: n.group.Allowed[typ]}, n
			continue
		}
		giver := n.parent.givers[i]
		n.settings[i], n.givers[i] = Setting{Mode: m, EffectiveMode: giver.settings[i].Mode, InheritedFrom: giver.text}, giver
	}
	for _, c := range n.children {
		c.settle()
	}
}

// Setting returns the setting of a group. The error is that of Group, or
// ErrValidation for an unknown type.
func (t *Tree) Setting(pattern string, typ Type) (Setting, error) {
	n, err := t.node(pattern)
	if err != nil {
		return Setting{}, err
	}
	i := slices.Index(Types(), typ)
	if i < 0 {
		return Setting{}, unknownType(typ)
	}
	return n.settings[i], nil
}

func unknownType(typ Type) error {
	return refuse(ErrValidation, "unknown origin restriction type %q: want PUBLISH, EXTERNAL_UPSTREAM or INTERNAL_UPSTREAM", typ)
}
