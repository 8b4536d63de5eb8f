package origin

import (
	"regexp"
	"slices"
)

// AllowedRepository is one entry of a group's lists.
type AllowedRepository struct {
	Type       Type
	Repository string
}

// Change is the body of UpdatePackageGroupOriginConfiguration. Restrictions that
// it does not name stay.
type Change struct {
	Restrictions map[Type]Mode
	Add, Remove  []AllowedRepository
}

// Update says what a Change did to one list; both sides sorted.
type Update struct {
	Added, Removed []string
}

// repositoryName is CodeArtifact's constraint on the names of repositories.
var repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._\-]{1,99}$`)

// Configure returns the group of pattern as ch changes it, and which entries of its
// lists came and went (a type without either is missing). A list exists while its
// type's mode is ALLOW_SPECIFIC_REPOSITORIES: a type that leaves the mode loses its
// list, and adding to a list that does not exist after the change, or removing from
// one that did not exist before, is refused. Adding what is listed and removing
// what is not are no errors and no updates. exists reports a repository of the
// domain; nil takes every name for one. The tree stays as it is: Replace takes the
// result. Errors are ErrValidation and ErrNotFound.
func (t *Tree) Configure(pattern string, ch Change, exists func(repository string) bool) (Group, map[Type]Update, error) {
	n, err := t.node(pattern)
	if err != nil {
		return Group{}, nil, err
	}
	g := Group{Pattern: n.text, Restrictions: map[Type]Mode{}, Allowed: map[Type][]string{}}
	for _, typ := range Types() {
		g.Restrictions[typ] = n.group.Restrictions[typ]
	}
	for typ, m := range ch.Restrictions {
		if !typ.valid() {
			return Group{}, nil, unknownType(typ)
		}
		if err := checkMode(n.pattern, typ, m); err != nil {
			return Group{}, nil, err
		}
		g.Restrictions[typ] = m
	}
	if err := checkEntries(n, g, ch, exists); err != nil {
		return Group{}, nil, err
	}
	updates := map[Type]Update{}
	for _, typ := range Types() {
		before := n.group.Allowed[typ]
		var after []string
		if g.Restrictions[typ] == AllowSpecific {
			after = changed(before, typ, ch)
			g.Allowed[typ] = after
		}
		u := Update{Added: minus(after, before), Removed: minus(before, after)}
		if len(u.Added)+len(u.Removed) > 0 {
			updates[typ] = u
		}
	}
	return g, updates, nil
}

// checkEntries holds the rules for the entries of a change; g has the new modes.
func checkEntries(n *node, g Group, ch Change, exists func(string) bool) error {
	for _, e := range slices.Concat(ch.Add, ch.Remove) {
		if !e.Type.valid() {
			return unknownType(e.Type)
		}
		if !repositoryName.MatchString(e.Repository) {
			return refuse(ErrValidation, "%q is not the name of a repository", e.Repository)
		}
	}
	for _, e := range ch.Add {
		if g.Restrictions[e.Type] != AllowSpecific {
			return refuse(ErrValidation, "package group %s has no allowed repository list for %s: its mode is %s, not %s",
				n.text, e.Type, g.Restrictions[e.Type], AllowSpecific)
		}
		if slices.Contains(ch.Remove, e) {
			return refuse(ErrValidation, "repository %s is both to be added to and removed from the allowed repositories for %s", e.Repository, e.Type)
		}
		if exists != nil && !exists(e.Repository) {
			return refuse(ErrNotFound, "repository %s does not exist", e.Repository)
		}
	}
	for _, e := range ch.Remove {
		if n.group.Restrictions[e.Type] != AllowSpecific {
			return refuse(ErrValidation, "package group %s has no allowed repository list for %s: its mode is %s, not %s",
				n.text, e.Type, n.group.Restrictions[e.Type], AllowSpecific)
		}
	}
	return nil
}

// changed returns the list before with the entries of ch for typ, sorted.
func changed(before []string, typ Type, ch Change) []string {
	after := []string{}
	for _, name := range before {
		if !slices.Contains(ch.Remove, AllowedRepository{typ, name}) {
			after = append(after, name)
		}
	}
	for _, e := range ch.Add {
		if e.Type == typ {
			after = append(after, e.Repository)
		}
	}
	slices.Sort(after)
	return slices.Compact(after)
}

// minus returns the elements of the sorted list a that the sorted list b lacks.
func minus(a, b []string) []string {
	var out []string
	for _, s := range a {
		if _, found := slices.BinarySearch(b, s); !found {
			out = append(out, s)
		}
	}
	return out
}

// Create returns a tree with one more group. A group that exists is ErrConflict,
// an illegal one ErrValidation. With a group without restrictions it also answers
// which packages a group would take, before the group exists.
func (t *Tree) Create(g Group) (*Tree, error) {
	return New(append(t.Groups(), g))
}

// Replace returns a tree in which g stands in place of the group with its pattern;
// ErrNotFound without one, ErrValidation for an illegal group.
func (t *Tree) Replace(g Group) (*Tree, error) {
	n, err := t.node(g.Pattern)
	if err != nil {
		return nil, err
	}
	groups := t.Groups()
	groups[slices.Index(t.order, n)] = g
	return New(groups)
}

// Delete returns a tree without a group; its children go to its parent. The root
// cannot be deleted (ErrValidation); an absent group is ErrNotFound.
func (t *Tree) Delete(pattern string) (*Tree, error) {
	n, err := t.node(pattern)
	if err != nil {
		return nil, err
	}
	if n == t.root {
		return nil, refuse(ErrValidation, "the root package group %s cannot be deleted", Root)
	}
	i := slices.Index(t.order, n)
	return New(slices.Delete(t.Groups(), i, i+1))
}
