package origin

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestConfigure(t *testing.T) {
	tr := build(t,
		Group{Pattern: "/npm//foo~", Restrictions: map[Type]Mode{Publish: AllowSpecific, InternalUpstream: Block}, Allowed: map[Type][]string{Publish: {"aa", "bb"}}})
	exists := func(name string) bool { return name != "gone" && name != "absent" }
	for name, c := range map[string]struct {
		change  Change
		modes   map[Type]Mode
		lists   map[Type][]string
		updates map[Type]Update
	}{
		"nothing": {
			Change{},
			map[Type]Mode{Publish: AllowSpecific, ExternalUpstream: Inherit, InternalUpstream: Block},
			map[Type][]string{Publish: {"aa", "bb"}}, map[Type]Update{},
		},
		"add and remove": {
			Change{Add: []AllowedRepository{{Publish, "dd"}, {Publish, "cc"}, {Publish, "dd"}}, Remove: []AllowedRepository{{Publish, "aa"}}},
			map[Type]Mode{Publish: AllowSpecific, ExternalUpstream: Inherit, InternalUpstream: Block},
			map[Type][]string{Publish: {"bb", "cc", "dd"}}, map[Type]Update{Publish: {Added: []string{"cc", "dd"}, Removed: []string{"aa"}}},
		},
		"what is so already": {
			Change{Add: []AllowedRepository{{Publish, "aa"}}, Remove: []AllowedRepository{{Publish, "absent"}}},
			map[Type]Mode{Publish: AllowSpecific, ExternalUpstream: Inherit, InternalUpstream: Block},
			map[Type][]string{Publish: {"aa", "bb"}}, map[Type]Update{},
		},
		"remove the last": {
			Change{Remove: []AllowedRepository{{Publish, "aa"}, {Publish, "bb"}}},
			map[Type]Mode{Publish: AllowSpecific, ExternalUpstream: Inherit, InternalUpstream: Block},
			map[Type][]string{Publish: {}}, map[Type]Update{Publish: {Removed: []string{"aa", "bb"}}},
		},
		"a new list": {
			Change{Restrictions: map[Type]Mode{ExternalUpstream: AllowSpecific}, Add: []AllowedRepository{{ExternalUpstream, "cc"}}},
			map[Type]Mode{Publish: AllowSpecific, ExternalUpstream: AllowSpecific, InternalUpstream: Block},
			map[Type][]string{Publish: {"aa", "bb"}, ExternalUpstream: {"cc"}}, map[Type]Update{ExternalUpstream: {Added: []string{"cc"}}},
		},
		"a list ends with its mode": {
			Change{Restrictions: map[Type]Mode{Publish: Inherit, InternalUpstream: Allow}},
			map[Type]Mode{Publish: Inherit, ExternalUpstream: Inherit, InternalUpstream: Allow},
			map[Type][]string{}, map[Type]Update{Publish: {Removed: []string{"aa", "bb"}}},
		},
		"a repository that is gone can be removed": {
			Change{Remove: []AllowedRepository{{Publish, "gone"}}},
			map[Type]Mode{Publish: AllowSpecific, ExternalUpstream: Inherit, InternalUpstream: Block},
			map[Type][]string{Publish: {"aa", "bb"}}, map[Type]Update{},
		},
	} {
		g, updates, err := tr.Configure("/npm//foo~", c.change, exists)
		if err != nil || !reflect.DeepEqual(g, Group{"/npm//foo~", c.modes, c.lists}) || !reflect.DeepEqual(updates, c.updates) {
			t.Errorf("%s: %+v, %+v, %v; want %+v, %+v, %+v", name, g, updates, err, c.modes, c.lists, c.updates)
			continue
		}
		next, err := tr.Replace(g)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := next.Group("/npm//foo~"); err != nil || !reflect.DeepEqual(got, g) {
			t.Errorf("%s: the new tree has %+v, %v; want %+v", name, got, err, g)
		}
	}
	if s, _ := tr.Setting("/npm//foo~", Publish); len(s.Repositories) != 2 {
		t.Errorf("a change reached the tree it came from: %+v", s)
	}
}

func TestConfigureRoot(t *testing.T) {
	tr := tree(t, "/npm/*")
	g, _, err := tr.Configure(Root, Change{Restrictions: map[Type]Mode{ExternalUpstream: Block}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tr, err = tr.Replace(g); err != nil {
		t.Fatal(err)
	}
	if s, err := tr.Setting("/npm/*", ExternalUpstream); err != nil || s.EffectiveMode != Block || s.InheritedFrom != Root {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestConfigureRefuses(t *testing.T) {
	tr := build(t, Group{Pattern: "/npm/*", Restrictions: map[Type]Mode{Publish: AllowSpecific}, Allowed: map[Type][]string{Publish: {"aa"}}})
	exists := func(name string) bool { return name != "absent" }
	for name, c := range map[string]struct {
		pattern string
		change  Change
		want    error
		why     string
	}{
		"no such group":    {"/pypi/*", Change{}, ErrNotFound, "/pypi/*"},
		"illegal pattern":  {"/pypi", Change{}, ErrValidation, "want /*"},
		"root inherits":    {Root, Change{Restrictions: map[Type]Mode{Publish: Inherit}}, ErrValidation, "no parent"},
		"unknown mode":     {"/npm/*", Change{Restrictions: map[Type]Mode{Publish: "MAYBE"}}, ErrValidation, "MAYBE"},
		"empty mode":       {"/npm/*", Change{Restrictions: map[Type]Mode{Publish: ""}}, ErrValidation, "mode"},
		"unknown type":     {"/npm/*", Change{Restrictions: map[Type]Mode{"UPLOAD": Allow}}, ErrValidation, "UPLOAD"},
		"unknown list":     {"/npm/*", Change{Add: []AllowedRepository{{"UPLOAD", "bb"}}}, ErrValidation, "UPLOAD"},
		"bad name":         {"/npm/*", Change{Add: []AllowedRepository{{Publish, "a b"}}}, ErrValidation, "a b"},
		"short name":       {"/npm/*", Change{Remove: []AllowedRepository{{Publish, "a"}}}, ErrValidation, "name of a repository"},
		"absent":           {"/npm/*", Change{Add: []AllowedRepository{{Publish, "absent"}}}, ErrNotFound, "absent"},
		"no list":          {"/npm/*", Change{Add: []AllowedRepository{{ExternalUpstream, "bb"}}}, ErrValidation, "no allowed repository list"},
		"no list to leave": {"/npm/*", Change{Remove: []AllowedRepository{{ExternalUpstream, "bb"}}}, ErrValidation, "no allowed repository list"},
		"list that ends":   {"/npm/*", Change{Restrictions: map[Type]Mode{Publish: Block}, Add: []AllowedRepository{{Publish, "bb"}}}, ErrValidation, "no allowed repository list"},
		"both ways":        {"/npm/*", Change{Add: []AllowedRepository{{Publish, "aa"}}, Remove: []AllowedRepository{{Publish, "aa"}}}, ErrValidation, "both"},
	} {
		g, updates, err := tr.Configure(c.pattern, c.change, exists)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.why) || g.Pattern != "" || updates != nil {
			t.Errorf("%s: %+v, %v, %v; want %v with %q", name, g, updates, err, c.want, c.why)
		}
	}
}
