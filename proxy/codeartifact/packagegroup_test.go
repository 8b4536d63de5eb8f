package codeartifact

import (
	"fmt"
	"strings"
	"testing"

	"larder/formats"
)

func group(pattern string, more ...any) given {
	g := given{"domain": "main", "packageGroup": pattern}
	for i := 0; i < len(more); i += 2 {
		g[more[i].(string)] = more[i+1]
	}
	return g
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	a := w.must("DescribePackageGroup", group("/*"))
	w.want(a, `"ALLOW"`, "packageGroup", "originConfiguration", "restrictions", "PUBLISH", "mode")
	w.want(a, `null`, "packageGroup", "parent")
	w.want(a, `"arn:aws:codeartifact:eu-central-1:111122223333:package-group/main/*"`, "packageGroup", "arn")

	a = w.must("CreatePackageGroup", group("/npm/*", "contactInfo", "me", "description", "all of npm", "tags", []tag{{"a", "b"}}))
	w.want(a, `"me"`, "packageGroup", "contactInfo")
	w.want(a, `{"effectiveMode":"ALLOW","inheritedFrom":{"arn":"arn:aws:codeartifact:eu-central-1:111122223333:package-group/main/*","pattern":"/*"},"mode":"INHERIT"}`,
		"packageGroup", "originConfiguration", "restrictions", "EXTERNAL_UPSTREAM")
	w.want(a, `"/*"`, "packageGroup", "parent", "pattern")
	w.want(w.must("ListTagsForResource", given{"resourceArn": fmt.Sprint(a.at("packageGroup", "arn"))}), `"b"`, "tags", 0, "value")
	for _, legal := range []string{"/npm/acme~", "/npm/acme/*", "/npm/acme/ui~", "/npm/acme/ui-kit$", "/pypi//requests$"} {
		w.want(w.must("CreatePackageGroup", group(legal)), `"`+legal+`"`, "packageGroup", "pattern")
		w.refused("ConflictException", "exists", "CreatePackageGroup", group(legal))
	}
	// Patterns are normalised as the format does.
	w.want(w.must("CreatePackageGroup", group("/pypi//Flask_Login$")), `"/pypi//flask-login$"`, "packageGroup", "pattern")
	w.must("DescribePackageGroup", group("/pypi//flask.login$"))
	for _, illegal := range []string{"npm/*", "/npm", "/golang/*", "/npm/acme", "/npm/@acme/*", "/npm//a*", "/maven//x$", "/npm/a/b/c~", "/python/*"} {
		w.refused("ValidationException", "packageGroup", "CreatePackageGroup", group(illegal))
	}
	w.refused("ConflictException", "/*", "CreatePackageGroup", group("/*"))
	w.refused("ValidationException", "root", "DeletePackageGroup", group("/*"))
	w.want(w.must("UpdatePackageGroup", group("/*", "description", "everything")), `"everything"`, "packageGroup", "description")
	a = w.must("UpdatePackageGroup", group("/npm/*", "contactInfo", ""))
	w.want(a, `"all of npm"`, "packageGroup", "description")
	w.want(a, `null`, "packageGroup", "contactInfo")

	// Lists, and children that fall to their grandparent.
	for _, size := range []int{1, 2, 1000} {
		all, _ := w.pages("ListPackageGroups", given{"domain": "main", "maxResults": size}, "packageGroups", "pattern")
		if all != "/* /npm/* /npm/acme/* /npm/acme/ui-kit$ /npm/acme/ui~ /npm/acme~ /pypi//flask-login$ /pypi//requests$" {
			t.Errorf("all: %s", all)
		}
		some, _ := w.pages("ListPackageGroups", given{"domain": "main", "prefix": "/npm/acme/", "maxResults": size}, "packageGroups", "pattern")
		if some != "/npm/acme/* /npm/acme/ui-kit$ /npm/acme/ui~" {
			t.Errorf("with prefix: %s", some)
		}
		below, _ := w.pages("ListSubPackageGroups", group("/*", "maxResults", size), "packageGroups", "pattern")
		if below != "/npm/* /pypi//flask-login$ /pypi//requests$" {
			t.Errorf("below the root: %s", below)
		}
	}
	w.want(w.must("DescribePackageGroup", group("/npm/acme/ui-kit$")), `"/npm/acme/ui~"`, "packageGroup", "parent", "pattern")
	w.want(w.must("DeletePackageGroup", group("/npm/acme/ui~")), `"/npm/acme/ui~"`, "packageGroup", "pattern")
	w.want(w.must("DescribePackageGroup", group("/npm/acme/ui-kit$")), `"/npm/acme/*"`, "packageGroup", "parent", "pattern")
	for _, op := range []string{"DescribePackageGroup", "UpdatePackageGroup", "DeletePackageGroup", "ListSubPackageGroups", "ListAssociatedPackages"} {
		a := w.refused("ResourceNotFoundException", "/npm/none~", op, group("/npm/none~"))
		w.want(a, `"package-group"`, "resourceType")
	}
}

func allow(typ string, repos ...string) []map[string]string {
	var out []map[string]string
	for _, r := range repos {
		out = append(out, map[string]string{"originRestrictionType": typ, "repositoryName": r})
	}
	return out
}

// TestGroupOrigins is the example of the user guide: repoA may ingest only
// through repoB.
func TestGroupOrigins(t *testing.T) {
	w := newWorld(t)
	w.site("main", "repoA", "repoB", "repoC")
	w.must("CreatePackageGroup", group("/npm/*"))
	w.must("CreatePackageGroup", group("/npm/acme/*"))
	const specific = "ALLOW_SPECIFIC_REPOSITORIES"
	op := "UpdatePackageGroupOriginConfiguration"
	a := w.must(op, group("/npm/*", "restrictions", map[string]string{"PUBLISH": "BLOCK", "EXTERNAL_UPSTREAM": specific, "INTERNAL_UPSTREAM": specific},
		"addAllowedRepositories", append(allow("EXTERNAL_UPSTREAM", "repoB", "repoC"), allow("INTERNAL_UPSTREAM", "repoA")...)))
	w.want(a, `{"EXTERNAL_UPSTREAM":{"ADDED":["repoB","repoC"]},"INTERNAL_UPSTREAM":{"ADDED":["repoA"]}}`, "allowedRepositoryUpdates")
	w.want(a, `{"effectiveMode":"ALLOW_SPECIFIC_REPOSITORIES","mode":"ALLOW_SPECIFIC_REPOSITORIES","repositoriesCount":2}`, "packageGroup", "originConfiguration", "restrictions", "EXTERNAL_UPSTREAM")
	a = w.must("DescribePackageGroup", group("/npm/acme/*"))
	w.want(a, `{"effectiveMode":"BLOCK","inheritedFrom":{"arn":"arn:aws:codeartifact:eu-central-1:111122223333:package-group/main/npm/*","pattern":"/npm/*"},"mode":"INHERIT"}`,
		"packageGroup", "originConfiguration", "restrictions", "PUBLISH")
	list := group("/npm/*", "originRestrictionType", "EXTERNAL_UPSTREAM", "maxResults", 1)
	a = w.must("ListAllowedRepositoriesForGroup", list)
	w.want(a, `["repoB"]`, "allowedRepositories")
	list["nextToken"] = a.body["nextToken"]
	if a = w.must("ListAllowedRepositoriesForGroup", list); a.raw != `{"allowedRepositories":["repoC"]}` {
		t.Errorf("%s", a.raw)
	}
	a = w.must(op, group("/npm/*", "removeAllowedRepositories", allow("EXTERNAL_UPSTREAM", "repoC")))
	w.want(a, `{"EXTERNAL_UPSTREAM":{"REMOVED":["repoC"]}}`, "allowedRepositoryUpdates")
	w.want(w.must("ListAllowedRepositoriesForGroup", group("/npm/*", "originRestrictionType", "PUBLISH")), `[]`, "allowedRepositories")

	w.refused("ValidationException", "repoA", op, group("/npm/*", "addAllowedRepositories", allow("EXTERNAL_UPSTREAM", "repoA"), "removeAllowedRepositories", allow("EXTERNAL_UPSTREAM", "repoA")))
	w.refused("ValidationException", "PUBLISH", op, group("/npm/*", "addAllowedRepositories", allow("PUBLISH", "repoA")))
	w.refused("ResourceNotFoundException", "repoX", op, group("/npm/*", "addAllowedRepositories", allow("EXTERNAL_UPSTREAM", "repoX")))
	w.refused("ValidationException", "INHERIT", op, group("/*", "restrictions", map[string]string{"PUBLISH": "INHERIT"}))
	w.refused("ValidationException", "addAllowedRepositories", op, group("/npm/*", "addAllowedRepositories", []map[string]string{{"repositoryName": "repoA"}}))
	w.refused("ResourceNotFoundException", "/npm/none~", op, group("/npm/none~"))

	// A list goes with its mode, and does not come back with it.
	a = w.must(op, group("/npm/*", "restrictions", map[string]string{"EXTERNAL_UPSTREAM": "ALLOW"}))
	w.want(a, `{"EXTERNAL_UPSTREAM":{"REMOVED":["repoB"]}}`, "allowedRepositoryUpdates")
	w.must(op, group("/npm/*", "restrictions", map[string]string{"EXTERNAL_UPSTREAM": specific}))
	w.want(w.must("ListAllowedRepositoriesForGroup", group("/npm/*", "originRestrictionType", "EXTERNAL_UPSTREAM")), `[]`, "allowedRepositories")
}

func TestAssociations(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team", "prod")
	// Published before there was a group that its name is a variation of.
	w.npm("main", "prod", "Foo", "1")
	w.must("CreatePackageGroup", group("/npm//foo~"))
	for name, want := range map[string]string{"foo": "/npm//foo~ STRONG", "foo-bar": "/npm//foo~ STRONG", "food": "/* STRONG", "Foo_Bar": "/npm//foo~ WEAK", "foo..bar": "/npm//foo~ STRONG"} {
		a := w.must("GetAssociatedPackageGroup", given{"domain": "main", "format": "npm", "package": name})
		if got := fmt.Sprint(a.at("packageGroup", "pattern"), " ", a.at("associationType")); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// A generic package's row joins namespace and name; a group sees them apart.
	w.must("CreatePackageGroup", group("/generic/tools/*"))
	w.want(w.must("GetAssociatedPackageGroup", given{"domain": "main", "format": "generic", "namespace": "tools", "package": "cli"}), `"/generic/tools/*"`, "packageGroup", "pattern")
	if err := w.publish("main", "team", "generic", formats.Name{Canon: "tools/cli", NS: "tools"}, "1", 0, nil, map[string]string{"f": "f"}); err != nil {
		t.Fatal(err)
	}
	w.want(w.must("ListAssociatedPackages", group("/generic/tools/*")), `"cli"`, "packages", 0, "package")
	w.refused("ResourceNotFoundException", "none", "GetAssociatedPackageGroup", given{"domain": "none", "format": "npm", "package": "x"})

	w.npm("main", "team", "foo", "1")
	w.npm("main", "team", "foo-bar", "1")
	w.npm("main", "prod", "foo", "1")
	w.npm("main", "prod", "food", "1")
	if err := w.publish("main", "prod", "pypi", formats.Name{Canon: "foo"}, "1", 0, nil, map[string]string{"f": "f"}); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 2, 1000} {
		got, _ := w.pages("ListAssociatedPackages", group("/npm//foo~", "maxResults", size), "packages", "package")
		kinds, _ := w.pages("ListAssociatedPackages", group("/npm//foo~", "maxResults", size), "packages", "associationType")
		if got != "Foo foo foo-bar" || kinds != "WEAK STRONG STRONG" {
			t.Errorf("pages of %d: %s (%s)", size, got, kinds)
		}
		// Each once, although two repositories have it; formats apart.
		if got, _ := w.pages("ListAssociatedPackages", group("/*", "maxResults", size), "packages", "format"); got != "npm pypi" {
			t.Errorf("root: %s", got)
		}
		// A group that does not exist yet.
		if got, _ := w.pages("ListAssociatedPackages", group("/npm//foo-bar$", "preview", true, "maxResults", size), "packages", "package"); got != "foo-bar" {
			t.Errorf("preview: %s", got)
		}
	}
	w.refused("ResourceNotFoundException", "foo-bar", "ListAssociatedPackages", group("/npm//foo-bar$"))
	w.refused("ResourceNotFoundException", "foo-bar", "DescribePackageGroup", group("/npm//foo-bar$"))
}

// TestAssociationsAcrossRuns lists more packages than one run of rows holds,
// spread over repositories.
func TestAssociationsAcrossRuns(t *testing.T) {
	w := newWorld(t)
	w.site("main", "r0", "r1", "r2")
	var want []string
	for i := range mergeRun*2 + 30 {
		name := fmt.Sprintf("p%04d", i)
		want = append(want, name)
		for r := range 3 {
			if i%(r+1) == 0 {
				w.must("PutPackageOriginConfiguration", given{"domain": "main", "repository": fmt.Sprint("r", r), "format": "npm", "package": name,
					"restrictions": map[string]string{"publish": "ALLOW", "upstream": "ALLOW"}})
			}
		}
	}
	for _, size := range []int{100, 256, 1000} {
		got, _ := w.pages("ListAssociatedPackages", group("/*", "maxResults", size), "packages", "package")
		if got != strings.Join(want, " ") {
			t.Errorf("pages of %d: %d packages, want %d", size, len(strings.Fields(got)), len(want))
		}
	}
}
