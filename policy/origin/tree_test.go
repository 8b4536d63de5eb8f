package origin

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tree builds a tree of groups that say nothing.
func tree(t testing.TB, patterns ...string) *Tree {
	t.Helper()
	groups := make([]Group, 0, len(patterns))
	for _, p := range patterns {
		groups = append(groups, Group{Pattern: p})
	}
	return build(t, groups...)
}

func build(t testing.TB, groups ...Group) *Tree {
	t.Helper()
	tr, err := New(groups)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestAssociated(t *testing.T) {
	tr := tree(t, "/npm/*", "/npm//*", "/npm//foo~", "/npm//foo-bar~", "/npm//foo-bar$", "/npm//foo-bar-baz$", "/npm/space~", "/npm/space/*",
		"/npm/space-x/*", "/npm//Foo_Bar$", "/maven/com.acme~", "/maven/com.acme.util/*", "/maven/com.acme.util/a~", "/go//example.com/acme~", "/npm//été~")
	for _, c := range []struct {
		format, namespace, name string
		group                   string
		strong                  bool
	}{
		{"npm", "", "react", "/npm//*", true},
		{"npm", "other", "react", "/npm/*", true},
		{"npm", "", "foo", "/npm//foo~", true},
		{"npm", "", "food", "/npm//*", true},
		{"npm", "", "foo-baz", "/npm//foo~", true},
		{"npm", "", "foo-bar", "/npm//foo-bar$", true},
		{"npm", "", "foo-bar-qux", "/npm//foo-bar~", true},
		{"npm", "", "foo-bar-baz", "/npm//foo-bar-baz$", true},
		{"npm", "", "foo-bar_baz", "/npm//foo-bar-baz$", false},
		{"npm", "", "Foo", "/npm//foo~", false},
		{"npm", "", "foo..bar", "/npm//Foo_Bar$", false}, // two exact groups alike: the first in the alphabet
		{"npm", "", "Foo_Bar", "/npm//Foo_Bar$", true},   // a more specific group for a variation
		{"npm", "", "foo_bar.x", "/npm//foo-bar~", false},
		{"npm", "", "foobar", "/npm//*", true},
		{"npm", "space", "x", "/npm/space/*", true},
		{"npm", "SPACE", "x", "/npm/space/*", false},
		{"npm", "space.y", "x", "/npm/space~", true},
		{"npm", "space.x", "x", "/npm/space-x/*", false},
		{"npm", "", "été-x", "/npm//été~", true},
		{"npm", "", "étéx", "/npm//*", true},
		{"maven", "com.acme", "a", "/maven/com.acme~", true},
		{"maven", "com.acme.util", "a", "/maven/com.acme.util/a~", true},
		{"maven", "com.acme.util", "b", "/maven/com.acme.util/*", true},
		{"maven", "com-acme", "b", "/maven/com.acme~", false},
		{"maven", "org.acme", "b", "/*", true},
		{"go", "", "example.com/acme/tool", "/go//example.com/acme~", true},
		{"go", "", "example.com/acmetool", "/*", true},
		{"debian", "", "bash", "/*", true},
	} {
		g, strong := tr.Associated(Coordinate{c.format, c.namespace, c.name})
		if g.Pattern != c.group || strong != c.strong {
			t.Errorf("%s/%s/%s belongs to %s, strong %v; want %s, %v", c.format, c.namespace, c.name, g.Pattern, strong, c.group, c.strong)
		}
	}
}

func TestHierarchy(t *testing.T) {
	tr := tree(t, "/npm/*", "/npm//foo~", "/npm//foo-bar~", "/npm//foo-bar$", "/npm//Foo_Bar$", "/npm/space~", "/npm/space/*", "/npm/space/x$",
		"/pypi//a$", "/maven/com.acme~", "/maven/com.acme.util~", "/maven/com.acme.util/a$")
	for child, parent := range map[string]string{
		"/npm/*":                  "/*",
		"/npm//foo~":              "/npm/*",
		"/npm//foo-bar~":          "/npm//foo~",
		"/npm//foo-bar$":          "/npm//foo-bar~",
		"/npm//Foo_Bar$":          "/npm/*", // likeness makes no parents
		"/npm/space~":             "/npm/*",
		"/npm/space/*":            "/npm/space~",
		"/npm/space/x$":           "/npm/space/*",
		"/pypi//a$":               "/*",
		"/maven/com.acme~":        "/*",
		"/maven/com.acme.util~":   "/maven/com.acme~",
		"/maven/com.acme.util/a$": "/maven/com.acme.util~",
	} {
		if g, ok, err := tr.Parent(child); g.Pattern != parent || !ok || err != nil {
			t.Errorf("parent of %s is %q, %v, %v; want %s", child, g.Pattern, ok, err, parent)
		}
	}
	if _, ok, err := tr.Parent(Root); ok || err != nil {
		t.Errorf("the root has a parent: %v, %v", ok, err)
	}
	children := func(tr *Tree, p string) (out []string) {
		gs, err := tr.Children(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range gs {
			out = append(out, g.Pattern)
		}
		return out
	}
	if got, want := children(tr, "/npm/*"), []string{"/npm//Foo_Bar$", "/npm//foo~", "/npm/space~"}; !slices.Equal(got, want) {
		t.Errorf("children of /npm/*: %v; want %v", got, want)
	}
	smaller, err := tr.Delete("/npm//foo-bar~")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := children(smaller, "/npm//foo~"), []string{"/npm//foo-bar$"}; !slices.Equal(got, want) {
		t.Errorf("after a delete /npm//foo~ has the children %v; want %v", got, want)
	}
	if got := children(tr, "/npm//foo~"); !slices.Equal(got, []string{"/npm//foo-bar~"}) {
		t.Errorf("a delete changed the tree it came from: %v", got)
	}
}

func TestEffectiveMode(t *testing.T) {
	tr := build(t,
		Group{Pattern: "/npm/*", Restrictions: map[Type]Mode{ExternalUpstream: Block}},
		Group{Pattern: "/npm//foo~", Restrictions: map[Type]Mode{Publish: AllowSpecific}, Allowed: map[Type][]string{Publish: {"b", "a", "b"}, ExternalUpstream: {"c"}}},
		Group{Pattern: "/npm//foo-bar$"})
	for _, c := range []struct {
		pattern string
		typ     Type
		want    Setting
	}{
		{Root, Publish, Setting{Mode: Allow, EffectiveMode: Allow}},
		{"/npm/*", ExternalUpstream, Setting{Mode: Block, EffectiveMode: Block}},
		{"/npm/*", Publish, Setting{Mode: Inherit, EffectiveMode: Allow, InheritedFrom: "/*"}},
		{"/npm//foo~", Publish, Setting{Mode: AllowSpecific, EffectiveMode: AllowSpecific, Repositories: []string{"a", "b"}}},
		{"/npm//foo~", ExternalUpstream, Setting{Mode: Inherit, EffectiveMode: Block, InheritedFrom: "/npm/*"}},
		{"/npm//foo-bar$", Publish, Setting{Mode: Inherit, EffectiveMode: AllowSpecific, InheritedFrom: "/npm//foo~"}},
		{"/npm//foo-bar$", ExternalUpstream, Setting{Mode: Inherit, EffectiveMode: Block, InheritedFrom: "/npm/*"}},
		{"/npm//foo-bar$", InternalUpstream, Setting{Mode: Inherit, EffectiveMode: Allow, InheritedFrom: "/*"}},
	} {
		got, err := tr.Setting(c.pattern, c.typ)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s %s: %+v, %v; want %+v", c.pattern, c.typ, got, err, c.want)
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	tr := tree(t, "/npm/*")
	for name, c := range map[string]struct {
		do   func() error
		want error
	}{
		"same pattern": {func() error { _, err := New([]Group{{Pattern: "/pypi//a-b$"}, {Pattern: "/pypi//A_b$"}}); return err }, ErrConflict},
		"bad pattern":  {func() error { _, err := New([]Group{{Pattern: "/npm"}}); return err }, ErrValidation},
		"bad mode": {func() error {
			_, err := New([]Group{{Pattern: "/npm/*", Restrictions: map[Type]Mode{Publish: "MAYBE"}}})
			return err
		}, ErrValidation},
		"bad type": {func() error {
			_, err := New([]Group{{Pattern: "/npm/*", Restrictions: map[Type]Mode{"x": Allow}}})
			return err
		}, ErrValidation},
		"root inherits": {func() error {
			_, err := New([]Group{{Pattern: "/*", Restrictions: map[Type]Mode{Publish: Inherit}}})
			return err
		}, ErrValidation},
		"create twice":   {func() error { _, err := tr.Create(Group{Pattern: "/npm/*"}); return err }, ErrConflict},
		"create root":    {func() error { _, err := tr.Create(Group{Pattern: "/*"}); return err }, ErrConflict},
		"delete root":    {func() error { _, err := tr.Delete("/*"); return err }, ErrValidation},
		"delete absent":  {func() error { _, err := tr.Delete("/pypi/*"); return err }, ErrNotFound},
		"replace absent": {func() error { _, err := tr.Replace(Group{Pattern: "/pypi/*"}); return err }, ErrNotFound},
		"get absent":     {func() error { _, err := tr.Group("/pypi/*"); return err }, ErrNotFound},
		"get illegal":    {func() error { _, err := tr.Group("pypi"); return err }, ErrValidation},
		"parent absent":  {func() error { _, _, err := tr.Parent("/pypi/*"); return err }, ErrNotFound},
		"children":       {func() error { _, err := tr.Children("/pypi/*"); return err }, ErrNotFound},
		"setting type":   {func() error { _, err := tr.Setting("/npm/*", "x"); return err }, ErrValidation},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

// naive is the definition of Associated: every group is asked.
func naive(tr *Tree, c Coordinate) (best *node, strength Strength) {
	folded := func(p Pattern) int {
		if p.form == FormNamespacePrefix {
			return len(Fold(p.namespace))
		}
		return len(Fold(p.name))
	}
	better := func(a *node, sa Strength, b *node, sb Strength) bool {
		for _, d := range []int{int(a.pattern.form) - int(b.pattern.form), folded(a.pattern) - folded(b.pattern), int(sa) - int(sb),
			a.pattern.Length() - b.pattern.Length(), strings.Compare(b.text, a.text)} {
			if d != 0 {
				return d > 0
			}
		}
		return false
	}
	for _, n := range tr.order {
		if s := n.pattern.Match(c); s != NoMatch && (best == nil || better(n, s, best, strength)) {
			best, strength = n, s
		}
	}
	return best, strength
}

// text makes words and separators that collide often.
func text(rng *rand.Rand, letters []string) string {
	var b strings.Builder
	for range 1 + rng.IntN(5) {
		b.WriteString(letters[rng.IntN(len(letters))])
	}
	return b.String()
}

// TestAssociatedIsTheNaiveScan: the index answers what asking every group answers,
// a coordinate belongs to exactly one group, and a strong match of the winner's
// ancestors follows from one of the winner.
func TestAssociatedIsTheNaiveScan(t *testing.T) {
	letters := []string{"a", "b", "A", "а", "o", "0", "-", "_", ".", "--", "m", "rn", "é", "e\u0301", "l", "I", "\u200b", "™", "\u0301", "ａ", "⑴"}
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		seen := map[string]bool{}
		var groups []Group
		for range 120 {
			format := []string{"npm", "pypi", "go", "swift"}[rng.IntN(4)]
			ns := ""
			if rng.IntN(3) > 0 {
				ns = text(rng, letters)
			}
			s := "/" + format + "/" + ns + []string{"~", "/*", "/" + text(rng, letters) + "~", "/" + text(rng, letters) + "$"}[rng.IntN(4)]
			if p, err := ParsePattern(s); err == nil && !seen[p.String()] {
				seen[p.String()] = true
				groups = append(groups, Group{Pattern: s})
			}
		}
		tr := build(t, groups...)
		for range 300 {
			c := Coordinate{Format: []string{"npm", "pypi", "go", "swift"}[rng.IntN(4)], Name: text(rng, letters)}
			if rng.IntN(3) > 0 {
				c.Namespace = text(rng, letters)
			}
			n, strong := tr.associate(c)
			want, strength := naive(tr, c)
			if n != want || strong != (strength == Strong) {
				t.Fatalf("seed %d: %q belongs to %q, strong %v; the scan says %q, %v", seed, c, n.text, strong, want.text, strength)
			}
			for a := n.parent; strong && a != nil; a = a.parent {
				if a.pattern.Match(c) != Strong {
					t.Fatalf("seed %d: %q is in %s, but not in its ancestor %s", seed, c, n.text, a.text)
				}
			}
		}
		for _, n := range tr.order {
			if got := parentByScan(tr, n); got != n.parent {
				t.Fatalf("seed %d: parent of %s is %v; the scan says %v", seed, n.text, n.parent, got)
			}
		}
	}
}

// parentByScan is the definition of a parent: of all other groups that cover what
// n covers, the most specific.
func parentByScan(tr *Tree, n *node) (best *node) {
	for _, o := range tr.order {
		p, q := o.pattern, n.pattern
		covers := p.form < q.form || p.form == q.form && p != q && (p.form == FormNamePrefix || p.form == FormNamespacePrefix)
		if covers && p.form > FormRoot {
			covers = p.format == q.format && p.covers(p.namespace, p.name, q.namespace, q.name)
		}
		if covers && (best == nil || p.form > best.pattern.form || p.form == best.pattern.form && p.Length() > best.pattern.Length()) {
			best = o
		}
	}
	return best
}

func TestConcurrentUse(t *testing.T) {
	tr := thousand(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				Decide(tr, PackageRestrictions{}, Coordinate{"npm", "", fmt.Sprintf("team%d-x", i)}, Publish, "main")
			}
		})
	}
	wg.Wait()
}

// thousand is a tree of 1,000 groups of all forms.
func thousand(t testing.TB) *Tree {
	groups := []Group{{Pattern: "/npm/*"}, {Pattern: "/pypi/*"}, {Pattern: "/maven/*"}, {Pattern: "/go/*"}}
	for i := range 166 {
		for _, p := range []string{"/npm//team%d~", "/npm/team%d/*", "/npm/team%d/ui-kit$", "/npm//team%d-core-utils$", "/maven/com.acme.team%d~", "/go//example.com/acme/team%d~"} {
			groups = append(groups, Group{Pattern: fmt.Sprintf(p, i)})
		}
	}
	tr := build(t, groups...)
	if len(tr.order) < 1000 {
		t.Fatalf("only %d groups", len(tr.order))
	}
	return tr
}

func BenchmarkAssociated(b *testing.B) {
	tr := thousand(b)
	for _, c := range []Coordinate{
		{"npm", "", "team42-core-utils"},
		{"npm", "", "babel-plugin-transform-es2015-modules-commonjs"},
		{"npm", "team42", "ui_kit"},
		{"maven", "com.acme.team42.backend.storage", "storage-api"},
		{"go", "", "example.com/acme/team42/internal/tool/v2"},
		{"pypi", "", "Zope_Interface.extra"},
		{"npm", "", "bаbel-plugin"}, // Cyrillic а
		{"npm", "", strings.Repeat("a-", 127)},
	} {
		b.Run(c.Format+"/"+strings.ReplaceAll(c.Name[:min(len(c.Name), 40)], "/", ":"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tr.Associated(c)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	groups := thousand(b).Groups()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(groups); err != nil {
			b.Fatal(err)
		}
	}
}
