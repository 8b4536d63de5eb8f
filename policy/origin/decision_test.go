package origin

import (
	"errors"
	"strings"
	"testing"
)

// TestDecide holds the combinations of the reference's section 5 and its checks 45,
// 48 and 49.
func TestDecide(t *testing.T) {
	tr := build(t,
		// Names of our own: publish, never from outside.
		Group{Pattern: "/npm//acme~", Restrictions: map[Type]Mode{Publish: Allow, ExternalUpstream: Block, InternalUpstream: Allow}},
		Group{Pattern: "/npm//acme-special$"},
		// repoA may ingest only through repoB.
		Group{Pattern: "/npm/*", Restrictions: map[Type]Mode{Publish: Block, ExternalUpstream: AllowSpecific, InternalUpstream: AllowSpecific},
			Allowed: map[Type][]string{ExternalUpstream: {"repoB"}, InternalUpstream: {"repoA"}}},
		Group{Pattern: "/npm/scope/*"}, // inherits the lists
	)
	both := PackageRestrictions{Allow, Allow}
	published, ingested := DefaultsFor(true), DefaultsFor(false)
	for _, c := range []struct {
		own              PackageRestrictions
		namespace, name  string
		what             Type
		repo             string
		allowed          bool
		group, from, why string
	}{
		{both, "", "acme", Publish, "repoA", true, "/npm//acme~", "/npm//acme~", "allows PUBLISH"},
		{both, "", "acme-x", ExternalUpstream, "repoB", false, "/npm//acme~", "/npm//acme~", "blocks EXTERNAL_UPSTREAM"},
		{both, "", "acme-x", InternalUpstream, "repoC", true, "/npm//acme~", "/npm//acme~", "allows INTERNAL_UPSTREAM"},
		{both, "", "acme-special", ExternalUpstream, "repoB", false, "/npm//acme-special$", "/npm//acme~", "blocks"},
		{both, "", "Acme", Publish, "repoA", false, "/npm//acme~", "/npm//acme~", "variation"},
		{both, "", "acme_Special", InternalUpstream, "repoA", false, "/npm//acme-special$", "/npm//acme~", "variation"},
		{both, "", "аcme", ExternalUpstream, "repoB", false, "/npm//acme~", "/npm//acme~", "variation"},
		{both, "", "react", ExternalUpstream, "repoB", true, "/npm/*", "/npm/*", "for repository repoB"},
		{both, "", "react", ExternalUpstream, "repoA", false, "/npm/*", "/npm/*", "repoA is not one"},
		{both, "", "react", InternalUpstream, "repoA", true, "/npm/*", "/npm/*", "for repository repoA"},
		{both, "", "react", InternalUpstream, "repoB", false, "/npm/*", "/npm/*", "repoB is not one"},
		{both, "", "react", Publish, "repoA", false, "/npm/*", "/npm/*", "blocks PUBLISH"},
		{both, "scope", "x", ExternalUpstream, "repoB", true, "/npm/scope/*", "/npm/*", "for repository repoB"},
		{both, "scope", "x", ExternalUpstream, "", false, "/npm/scope/*", "/npm/*", "only for listed"},
		{both, "", "react", "DELETE", "repoA", false, "/npm/*", "", "no way"},
		// The package's own controls.
		{published, "", "acme", Publish, "repoA", true, "/npm//acme~", "/npm//acme~", "allows"},
		{published, "", "acme", InternalUpstream, "repoA", false, "/npm//acme~", "/npm//acme~", "upstream is BLOCK"},
		{ingested, "", "acme", Publish, "repoA", false, "/npm//acme~", "/npm//acme~", "publish is BLOCK"},
		{ingested, "", "react", ExternalUpstream, "repoB", true, "/npm/*", "/npm/*", "for repository repoB"},
		{PackageRestrictions{}, "", "acme", Publish, "repoA", true, "/npm//acme~", "/npm//acme~", "allows"},
		{PackageRestrictions{Upstream: Allow}, "", "acme", Publish, "repoA", false, "/npm//acme~", "/npm//acme~", "publish is BLOCK"},
		{PackageRestrictions{"allow", "allow"}, "", "acme", Publish, "repoA", false, "/npm//acme~", "/npm//acme~", "publish is BLOCK"},
	} {
		v := Decide(tr, c.own, Coordinate{"npm", c.namespace, c.name}, c.what, c.repo)
		if v.Allowed != c.allowed || v.Group != c.group || v.From != c.from || !strings.Contains(v.Reason, c.why) {
			t.Errorf("%+v %s/%s %s %s: %+v; want allowed %v, group %s from %s, %q", c.own, c.namespace, c.name, c.what, c.repo, v, c.allowed, c.group, c.from, c.why)
		}
	}
}

// TestDecideTable: what is allowed is exactly what both sides allow.
func TestDecideTable(t *testing.T) {
	for _, mode := range []Mode{Allow, AllowSpecific, Block} {
		for _, typ := range Types() {
			tr := build(t, Group{Pattern: Root, Restrictions: map[Type]Mode{typ: mode}, Allowed: map[Type][]string{typ: {"in"}}})
			for _, own := range []PackageRestrictions{{}, {Allow, Allow}, {Allow, Block}, {Block, Allow}, {Block, Block}} {
				for _, repo := range []string{"in", "out"} {
					side := own.Upstream
					if typ == Publish {
						side = own.Publish
					}
					want := side != Block && (mode == Allow || mode == AllowSpecific && repo == "in")
					v := Decide(tr, own, Coordinate{"npm", "", "x"}, typ, repo)
					if v.Allowed != want || v.Mode != mode || !v.Strong || v.Reason == "" {
						t.Errorf("%s %s, own %+v, into %s: %+v; want allowed %v", typ, mode, own, repo, v, want)
					}
				}
			}
		}
	}
}

func TestPackageRestrictionsValidate(t *testing.T) {
	for r, ok := range map[PackageRestrictions]bool{
		{Allow, Block}: true, {Block, Block}: true, {}: false, {Publish: Allow}: false, {Allow, Inherit}: false, {AllowSpecific, Allow}: false,
	} {
		if err := r.Validate(); (err == nil) != ok || err != nil && !errors.Is(err, ErrValidation) {
			t.Errorf("%+v: %v; want valid %v", r, err, ok)
		}
	}
	if DefaultsFor(true) != (PackageRestrictions{Allow, Block}) || DefaultsFor(false) != (PackageRestrictions{Block, Allow}) {
		t.Error("the defaults are wrong")
	}
}
