package codeartifact

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"larder/cache/catalog"
	"larder/formats"
)

// pkg names a package of repository team in domain main.
func pkg(ns, name string, more ...any) given {
	g := given{"domain": "main", "repository": "team", "format": "npm", "package": name}
	if ns != "" {
		g["namespace"] = ns
	}
	for i := 0; i < len(more); i += 2 {
		g[more[i].(string)] = more[i+1]
	}
	return g
}

func TestListPackages(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	for _, n := range []string{"0x", "left-pad", "lefty", "@acme/left", "@acme/right", "@acme-labs/left", "zlib"} {
		w.npm("main", "team", n, "1.0.0")
	}
	for _, n := range []string{"group.a:one", "group.b:two"} {
		ns, _, _ := strings.Cut(n, ":")
		if err := w.publish("main", "team", "maven", formats.Name{Canon: n, NS: ns}, "1", 0, nil, map[string]string{"f": n}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"django", "django-filter", "flask"} {
		if err := w.publish("main", "team", "pypi", formats.Name{Canon: n}, "1", 0, nil, map[string]string{"f": n}); err != nil {
			t.Fatal(err)
		}
	}
	w.must("PutPackageOriginConfiguration", pkg("", "zlib", "restrictions", map[string]string{"publish": "BLOCK", "upstream": "ALLOW"}))
	for _, c := range []struct {
		in   given
		want string
	}{
		{given{}, "group.a:one group.b:two 0x left right left left-pad lefty zlib django django-filter flask"},
		{given{"format": "npm"}, "0x left right left left-pad lefty zlib"},
		{given{"format": "npm", "namespace": "acme"}, "left right left"},
		{given{"format": "npm", "namespace": "acme-"}, "left"},
		{given{"format": "npm", "namespace": "@acme-"}, "left"},
		{given{"format": "npm", "packagePrefix": "left"}, "left left left-pad lefty"},
		{given{"format": "npm", "packagePrefix": "0"}, "0x"},
		{given{"format": "npm", "packagePrefix": "zz"}, ""},
		{given{"format": "npm", "namespace": "acme", "packagePrefix": "r"}, "right"},
		{given{"format": "maven", "namespace": "nothing"}, ""},
		{given{"format": "pypi", "packagePrefix": "Django_"}, "django-filter"},
		{given{"format": "pypi", "packagePrefix": "d"}, "django django-filter"},
		{given{"format": "cargo"}, ""},
		{given{"publish": "BLOCK"}, "zlib"},
		{given{"upstream": "ALLOW"}, "zlib"},
		{given{"publish": "ALLOW", "upstream": "ALLOW"}, ""},
	} {
		for _, size := range []int{1, 2, 3, 1000} {
			in := given{"domain": "main", "repository": "team", "maxResults": size}
			for k, v := range c.in {
				in[k] = v
			}
			got, _ := w.pages("ListPackages", in, "packages", "package")
			if sorted(got) != sorted(c.want) {
				t.Errorf("%v in pages of %d: %q, want %q", c.in, size, got, c.want)
			}
		}
	}
	a := w.must("ListPackages", given{"domain": "main", "repository": "team", "format": "npm", "namespace": "acme-labs"})
	if a.raw != `{"packages":[{"format":"npm","namespace":"acme-labs","package":"left","originConfiguration":{"restrictions":{"publish":"ALLOW","upstream":"BLOCK"}}}]}` {
		t.Errorf("%s", a.raw)
	}
	w.refused("ValidationException", "namespace", "ListPackages", given{"domain": "main", "repository": "team", "namespace": "acme"})
	w.refused("ResourceNotFoundException", "none", "ListPackages", given{"domain": "main", "repository": "none"})
}

func sorted(words string) string {
	l := strings.Fields(words)
	slices.Sort(l)
	return strings.Join(l, " ")
}

// TestListPackagesIsBounded: a filter that lets nothing through ends a page after
// a bounded number of rows, and the token leads on from there.
func TestListPackagesIsBounded(t *testing.T) {
	s := &packageScan{h: newWorld(t).h, filter: &packageFilter{prefix: "no"}, size: 10}
	n := 0
	for s.take(&catalog.Package{Format: "npm", Name: formats.Name{Canon: fmt.Sprint("p", n)}}) {
		n++
	}
	if n != maxScanned || !s.more || s.last != fmt.Sprint("npm\x00p", n-1) {
		t.Errorf("read %d rows, more %v, last %q", n, s.more, s.last)
	}
}

func TestPackages(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team", "below")
	w.npm("main", "team", "@acme/x", "1.0.0")
	w.npm("main", "below", "deep", "1.0.0")
	w.must("UpdateRepository", given{"domain": "main", "repository": "team", "upstreams": up("below")})
	a := w.must("DescribePackage", pkg("acme", "x"))
	if a.raw != `{"package":{"format":"npm","namespace":"acme","name":"x","originConfiguration":{"restrictions":{"publish":"ALLOW","upstream":"BLOCK"}}}}` {
		t.Errorf("%s", a.raw)
	}
	a = w.refused("ResourceNotFoundException", "deep", "DescribePackage", pkg("", "deep")) // upstreams are not looked at
	w.want(a, `"package"`, "resourceType")
	w.refused("ResourceNotFoundException", "deep", "ListPackageVersions", pkg("", "deep"))
	w.refused("ValidationException", "package", "DescribePackage", pkg("", "a!b"))
	for _, f := range []string{"maven", "swift", "generic"} {
		w.refused("ValidationException", "namespace", "DescribePackage", given{"domain": "main", "repository": "team", "format": f, "package": "x"})
	}
	// Only the name of a Go module may hold a slash.
	w.refused("ValidationException", "package", "DescribePackage", pkg("", "a/b"))
	w.refused("ResourceNotFoundException", "go.example/m/v2", "DescribePackage", given{"domain": "main", "repository": "team", "format": "go", "package": "go.example/m/v2"})
	w.refused("ValidationException", "format", "DescribePackage", given{"domain": "main", "repository": "team", "format": "golang", "package": "x"})

	a = w.must("PutPackageOriginConfiguration", pkg("", "new", "restrictions", map[string]string{"publish": "BLOCK", "upstream": "BLOCK"}))
	w.want(a, `{"restrictions":{"publish":"BLOCK","upstream":"BLOCK"}}`, "originConfiguration")
	w.want(w.must("ListPackageVersions", pkg("", "new")), `[]`, "versions")
	a = w.must("DeletePackage", pkg("acme", "x"))
	w.want(a, `"x"`, "deletedPackage", "package")
	w.refused("ResourceNotFoundException", "x", "DeletePackage", pkg("acme", "x"))
}

func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	w.npm("main", "team", "@acme/x", "2.0.0", "1.0.0", "10.0.0", "3.0.0")
	x := func(more ...any) given { return pkg("acme", "x", more...) }
	w.must("UpdatePackageVersionsStatus", x("versions", []string{"3.0.0"}, "targetStatus", "Unlisted"))
	for _, c := range []struct {
		in   given
		want string
	}{
		{x(), "1.0.0 10.0.0 2.0.0 3.0.0"},
		{x("sortBy", "PUBLISHED_TIME"), "3.0.0 10.0.0 1.0.0 2.0.0"},
		{x("status", "Unlisted"), "3.0.0"},
		{x("status", "Published", "sortBy", "PUBLISHED_TIME"), "10.0.0 1.0.0 2.0.0"},
		{x("status", "Deleted"), ""},
		{x("originType", "INTERNAL", "status", "Published"), "1.0.0 10.0.0 2.0.0"},
		{x("originType", "EXTERNAL"), ""},
	} {
		for _, size := range []int{1, 3, 1000} {
			in := given{"maxResults": size}
			for k, v := range c.in {
				in[k] = v
			}
			if got, _ := w.pages("ListPackageVersions", in, "versions", "version"); got != c.want {
				t.Errorf("%v: %q, want %q", c.in, got, c.want)
			}
		}
	}
	a := w.must("ListPackageVersions", x("maxResults", 1))
	w.want(a, `"10.0.0"`, "defaultDisplayVersion") // the last Published one
	w.want(a, `{"domainEntryPoint":{"repositoryName":"team"},"originType":"INTERNAL"}`, "versions", 0, "origin")
	w.want(a, `"acme"`, "namespace")
	n, _ := fakeNPM{}.name("@acme/x")
	if _, err := w.cat.Propose("main", "x", &catalog.Publish{Repository: "team", Format: "npm", Name: n, Tags: map[string]string{"latest": "2.0.0"}}); err != nil {
		t.Fatal(err)
	}
	w.want(w.must("ListPackageVersions", x()), `"2.0.0"`, "defaultDisplayVersion")

	a = w.must("DescribePackageVersion", x("packageVersion", "1.0.0"))
	for member, want := range map[string]string{"format": `"npm"`, "namespace": `"acme"`, "packageName": `"x"`, "displayName": `"@acme/x"`, "version": `"1.0.0"`,
		"summary": `"does things"`, "homePage": `"https://home.example/"`, "sourceCodeRepository": `"https://code.example/x"`, "status": `"Published"`,
		"licenses": `[{"name":"MIT","url":"https://mit.example/"}]`, "origin": `{"domainEntryPoint":{"repositoryName":"team"},"originType":"INTERNAL"}`} {
		w.want(a, want, "packageVersion", member)
	}
	if rev := fmt.Sprint(a.at("packageVersion", "revision")); len(rev) != 44 {
		t.Errorf("revision %q", rev)
	}
	if _, ok := a.at("packageVersion", "publishedTime").(float64); !ok {
		t.Errorf("%s", a.raw)
	}
	a = w.refused("ResourceNotFoundException", "9.9.9", "DescribePackageVersion", x("packageVersion", "9.9.9"))
	w.want(a, `"package-version"`, "resourceType")
	w.want(w.must("GetPackageVersionReadme", x("packageVersion", "1.0.0")), `"# @acme/x1.0.0"`, "readme")

	deps, pages := w.pages("ListPackageVersionDependencies", x("packageVersion", "1.0.0"), "dependencies", "package")
	if pages != 2 || !strings.HasPrefix(deps, "d0 d1 d2 ") || !strings.HasSuffix(deps, " d59") {
		t.Errorf("%d pages: %s", pages, deps)
	}
	a = w.must("ListPackageVersionDependencies", x("packageVersion", "1.0.0"))
	w.want(a, `{"dependencyType":"dev","namespace":"types","package":"d0","versionRequirement":"^1"}`, "dependencies", 0)

	// A package that cannot be read is described by its row.
	w.npm("main", "team", "broken", "1.0.0")
	w.want(w.must("DescribePackageVersion", pkg("", "broken", "packageVersion", "1.0.0")), `"Published"`, "packageVersion", "status")
	if a := w.call("ListPackageVersionDependencies", pkg("", "broken", "packageVersion", "1.0.0")); a.status != 500 || strings.Contains(a.raw, "not a package") {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestAssets(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	w.npm("main", "team", "x", "1.0.0")
	x := func(more ...any) given { return pkg("", "x", append([]any{"packageVersion", "1.0.0"}, more...)...) }
	a := w.must("ListPackageVersionAssets", x())
	w.want(a, `"package.tgz"`, "assets", 0, "name")
	w.want(a, `6`, "assets", 0, "size")
	sum := sha256.Sum256([]byte("x1.0.0"))
	w.want(a, `"`+hex.EncodeToString(sum[:])+`"`, "assets", 0, "hashes", "SHA-256")
	if m, _ := a.at("assets", 0, "hashes").(map[string]any); len(m) != 4 {
		t.Errorf("hashes %v", m)
	}
	rev := fmt.Sprint(a.body["versionRevision"])
	a = w.must("GetPackageVersionAsset", x("asset", "package.tgz", "packageVersionRevision", rev))
	if a.raw != "x1.0.0" || a.header.Get("X-AssetName") != "package.tgz" || a.header.Get("X-PackageVersion") != "1.0.0" ||
		a.header.Get("X-PackageVersionRevision") != rev || a.header.Get("Content-Length") != "6" {
		t.Errorf("%q %v", a.raw, a.header)
	}
	w.refused("ConflictException", "revision", "GetPackageVersionAsset", x("asset", "package.tgz", "packageVersionRevision", "other"))
	a = w.refused("ResourceNotFoundException", "none.tgz", "GetPackageVersionAsset", x("asset", "none.tgz"))
	w.want(a, `"asset"`, "resourceType")
	for _, c := range []struct {
		status string
		ok     bool
	}{{"Unlisted", true}, {"Archived", false}, {"Published", true}} {
		w.must("UpdatePackageVersionsStatus", pkg("", "x", "versions", []string{"1.0.0"}, "targetStatus", c.status))
		if a := w.call("GetPackageVersionAsset", x("asset", "package.tgz")); (a.status == 200) != c.ok {
			t.Errorf("%s: %d %s", c.status, a.status, a.raw)
		}
		w.want(w.must("ListPackageVersionAssets", x()), `"package.tgz"`, "assets", 0, "name")
	}
	// What came from outside with one digest is shown with four.
	w.back.upstream["npm far 1.0.0"] = "far away"
	n, _ := fakeNPM{}.name("far")
	if err := w.back.Ingest(t.Context(), "main", "team", "npm", n, "1.0.0"); err != nil {
		t.Fatal(err)
	}
	want := md5.Sum([]byte("far away"))
	for range 2 { // computed, then remembered
		a = w.must("ListPackageVersionAssets", pkg("", "far", "packageVersion", "1.0.0"))
		w.want(a, `"`+hex.EncodeToString(want[:])+`"`, "assets", 0, "hashes", "MD5")
		if m, _ := a.at("assets", 0, "hashes").(map[string]any); len(m) != 4 {
			t.Errorf("hashes %v", m)
		}
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	asset := func(name, data string, more ...any) given {
		sum := sha256.Sum256([]byte(data))
		g := given{"domain": "main", "repository": "team", "format": "generic", "namespace": "tools", "package": "cli", "packageVersion": "1.0",
			"assetName": name, "assetSHA256": hex.EncodeToString(sum[:]), "_body": data}
		for i := 0; i < len(more); i += 2 {
			g[more[i].(string)] = more[i+1]
		}
		return g
	}
	a := w.must("PublishPackageVersion", asset("one two.bin", "ONE", "unfinished", true))
	w.want(a, `"Unfinished"`, "status")
	w.want(a, `"one two.bin"`, "asset", "name")
	w.want(a, `"tools"`, "namespace")
	if m, _ := a.at("asset", "hashes").(map[string]any); len(m) != 4 {
		t.Errorf("%s", a.raw)
	}
	get := given{"domain": "main", "repository": "team", "format": "generic", "namespace": "tools", "package": "cli", "packageVersion": "1.0", "asset": "one two.bin"}
	w.refused("ResourceNotFoundException", "Unfinished", "GetPackageVersionAsset", get)
	w.want(w.must("PublishPackageVersion", asset("two", "TWO")), `"Published"`, "status")
	if a := w.must("GetPackageVersionAsset", get); a.raw != "ONE" {
		t.Errorf("%q", a.raw)
	}
	delete(get, "asset")
	w.want(w.must("ListPackageVersionAssets", get), `"two"`, "assets", 1, "name")
	w.want(w.must("ListPackageVersionDependencies", get), `[]`, "dependencies")
	w.refused("ResourceNotFoundException", "readme", "GetPackageVersionReadme", get)
	w.want(w.must("DescribeDomain", given{"domain": "main"}), `6`, "domain", "assetSizeBytes")

	w.refused("ValidationException", "SHA-256", "PublishPackageVersion", asset("three", "THREE", "assetSHA256", strings.Repeat("0", 64)))
	w.refused("ConflictException", "two", "PublishPackageVersion", asset("two", "OTHER"))
	w.refused("ValidationException", "format", "PublishPackageVersion", asset("x", "X", "format", "npm"))
	for _, bad := range []string{".", "..", " x", "x ", "a  b", "a/b", "a:b", "a%b"} {
		w.refused("ValidationException", "assetName", "PublishPackageVersion", asset(bad, "X"))
	}
	w.refused("ValidationException", "packageVersion", "PublishPackageVersion", asset("x", "X", "packageVersion", ".."))
	in := asset("x", "X")
	delete(in, "assetSHA256")
	w.refused("ValidationException", "assetSHA256", "PublishPackageVersion", in)
}
