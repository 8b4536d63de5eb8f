package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/npm/npmtest"
)

// The checks of package groups and of what a domain takes on disk.
func groupChecks() []check {
	return []check{
		{47, "group-patterns", checkGroupPatterns},
		{48, "weak-matches", checkWeakMatches},
		{49, "allowed-repositories", checkAllowedRepositories},
		{52, "size-counts-once", checkSizeOnce},
	}
}

func (s *site) makeGroup(domain, pattern string) {
	s.Helper()
	if _, err := s.sdk(admin()).CreatePackageGroup(s.Context(), &codeartifact.CreatePackageGroupInput{Domain: &domain, PackageGroup: &pattern}); err != nil {
		s.Fatal(err)
	}
}

// restrict sets modes of a group, "TYPE=MODE,...", by the AWS CLI.
func (s *site) restrict(domain, pattern, modes string, more ...string) outcome {
	s.Helper()
	args := []string{"update-package-group-origin-configuration", "--domain", domain, "--package-group", pattern, "--restrictions", modes}
	return s.aws(admin(), append(args, more...)...).good()
}

// npmProject is a directory whose .npmrc leads to a repository with a token.
func (s *site) npmProject(name, domain, repo, token string) (dir string) {
	s.Helper()
	at := s.base + endpoint("npm", domain, repo)
	s.write(name+"/.npmrc", "registry="+at+"\n"+strings.TrimPrefix(at, "http:")+":_authToken="+token+"\n")
	s.write(name+"/package.json", `{"name":"project","version":"1.0.0","private":true}`)
	return name
}

// npmPublish publishes a package of one file with npm.
func (s *site) npmPublish(domain, repo, token, pkg, version string) outcome {
	s.Helper()
	dir := s.npmProject(filepath.Join("publish", domain, repo, strings.ReplaceAll(pkg, "/", "+")+"-"+version), domain, repo, token)
	s.write(dir+"/package.json", fmt.Sprintf(`{"name":%q,"version":%q}`, pkg, version))
	s.write(dir+"/index.js", "module.exports = 1;\n")
	return s.run(dir, nil, "npm", "publish", "--tag", "latest")
}

// npmInstall installs packages with npm into a new project.
func (s *site) npmInstall(domain, repo, token string, specs ...string) outcome {
	s.Helper()
	dir := s.npmProject(filepath.Join("install", domain, repo, strings.ReplaceAll(strings.Join(specs, "_"), "/", "+")), domain, repo, token)
	return s.run(dir, nil, "npm", append([]string{"install", "--prefer-online"}, specs...)...)
}

func checkGroupPatterns(t *testing.T, s *site) {
	s.makeDomain("c47-groups")
	legal := []string{"/npm/*", "/npm/web~", "/npm/web/*", "/npm/web/ui~", "/npm/web/ui-kit$"}
	for _, p := range slices.Backward(legal) { // deepest first: parents come later
		s.makeGroup("c47-groups", p)
	}
	group := func(pattern string) object {
		t.Helper()
		return s.aws(admin(), "describe-package-group", "--domain", "c47-groups", "--package-group", pattern).json()
	}
	same(t, "the root", group("/*").at("packageGroup.parent"), "")
	want := "/*"
	for _, p := range legal {
		same(t, "parent of "+p, group(p).at("packageGroup.parent.pattern"), want)
		want = p
	}
	s.aws(admin(), "create-package-group", "--domain", "c47-groups", "--package-group", "/npm/web/*").bad("ConflictException")
	for _, p := range []string{"npm/*", "/npm", "/npm/", "/*/web", "/npm/web*", "/npm/web/ui", "/npm/web-~", "/npm/web$", "/npm/web/ui$/x", "/golang/*", "/pypi/ns/name$",
		"/maven//app$", "/npm/*/ui~", "/"} {
		_, err := s.sdk(admin()).CreatePackageGroup(t.Context(), &codeartifact.CreatePackageGroupInput{Domain: aws.String("c47-groups"), PackageGroup: &p})
		if err == nil || !strings.Contains(err.Error(), "ValidationException") {
			t.Errorf("pattern %s: got %v, want a ValidationException", p, err)
		}
	}
	s.aws(admin(), "create-package-group", "--domain", "c47-groups", "--package-group", "/npm/web*").bad("ValidationException")
	s.aws(admin(), "delete-package-group", "--domain", "c47-groups", "--package-group", "/*").bad("ValidationException")
	s.aws(admin(), "update-package-group", "--domain", "c47-groups", "--package-group", "/*", "--description", "everything", "--contact-info", "ops").good()
	same(t, "the root can be edited", group("/*").at("packageGroup.description"), "everything")

	publish := func(pattern string) string {
		r := "packageGroup.originConfiguration.restrictions.PUBLISH."
		g := group(pattern)
		return g.at(r+"mode") + " " + g.at(r+"effectiveMode") + " " + g.at(r+"inheritedFrom.pattern")
	}
	same(t, "a new group", publish("/npm/web/ui~"), "INHERIT ALLOW /*")
	s.restrict("c47-groups", "/npm/web/*", "PUBLISH=BLOCK")
	same(t, "below a group that blocks", publish("/npm/web/ui~"), "INHERIT BLOCK /npm/web/*")
	same(t, "the group that blocks", publish("/npm/web/*"), "BLOCK BLOCK ")
	same(t, "another restriction", group("/npm/web/ui~").at("packageGroup.originConfiguration.restrictions.EXTERNAL_UPSTREAM.effectiveMode"), "ALLOW")
	same(t, "children", s.aws(admin(), "list-sub-package-groups", "--domain", "c47-groups", "--package-group", "/npm/web/*").json().all("packageGroups", "pattern"), "/npm/web/ui~")

	s.aws(admin(), "delete-package-group", "--domain", "c47-groups", "--package-group", "/npm/web/*").good()
	same(t, "re-parented", group("/npm/web/ui~").at("packageGroup.parent.pattern"), "/npm/web~")
	same(t, "inherits from the new parent", publish("/npm/web/ui~"), "INHERIT ALLOW /*")
	s.aws(admin(), "describe-package-group", "--domain", "c47-groups", "--package-group", "/npm/web/*").bad("ResourceNotFoundException")
	same(t, "groups by prefix, in pages", s.aws(admin(), "list-package-groups", "--domain", "c47-groups", "--prefix", "/npm/web", "--page-size", "1").json().all("packageGroups", "pattern"), "/npm/web/ui-kit$ /npm/web/ui~ /npm/web~")
}

// associated is "PATTERN STRENGTH" of a package, by the SDK for Go.
func (s *site) associated(domain string, format types.PackageFormat, namespace, pkg string) string {
	s.Helper()
	in := &codeartifact.GetAssociatedPackageGroupInput{Domain: &domain, Format: format, Package: &pkg}
	if namespace != "" {
		in.Namespace = &namespace
	}
	out, err := s.sdk(admin()).GetAssociatedPackageGroup(s.Context(), in)
	if err != nil {
		s.Fatal(err)
	}
	return *out.PackageGroup.Pattern + " " + string(out.AssociationType)
}

func checkWeakMatches(t *testing.T, s *site) {
	s.makeDomain("c48-weak")
	s.makeRepository("c48-weak", "store")
	s.aws(admin(), "associate-external-connection", "--domain", "c48-weak", "--repository", "store", "--external-connection", "public:npmjs").good()
	s.makeRepository("c48-weak", "team", "store")
	s.makeGroup("c48-weak", "/npm//foo~")
	s.makeGroup("c48-weak", "/npm//inner-lib$")
	for pkg, want := range map[string]string{
		"foo": "/npm//foo~ STRONG", "foo-bar": "/npm//foo~ STRONG", "food": "/* STRONG", "Foo_Bar": "/npm//foo~ WEAK", "barfoo": "/* STRONG",
		"inner-lib": "/npm//inner-lib$ STRONG", "inner_lib": "/npm//inner-lib$ WEAK", "inner..lib": "/npm//inner-lib$ WEAK", "Inner.Lib": "/npm//inner-lib$ WEAK",
		"innerlib": "/* STRONG", "inner-lib-x": "/* STRONG",
	} {
		same(t, pkg, s.associated("c48-weak", types.PackageFormatNpm, "", pkg), want)
	}
	got := s.aws(admin(), "get-associated-package-group", "--domain", "c48-weak", "--format", "npm", "--package", "Foo_Bar").json()
	same(t, "AWS CLI", got.at("associationType")+" "+got.at("packageGroup.pattern"), "WEAK /npm//foo~")

	for _, pkg := range []string{"inner_lib", "inner..lib", "innerlib"} {
		s.npm.Add(npmtest.Package{Name: pkg, Version: "1.0.0"})
	}
	token := s.token(admin(), "c48-weak")
	s.npmInstall("c48-weak", "team", token, "innerlib").good()
	s.npmInstall("c48-weak", "team", token, "inner_lib").bad("404")
	before := len(s.upstreams["public:npmjs"].Requests())
	for _, repo := range []string{"team", "store"} {
		for _, path := range []string{"inner..lib", "inner_lib/-/inner_lib-1.0.0.tgz"} {
			same(t, repo+" "+path, s.get(endpoint("npm", "c48-weak", repo)+path, token).status, 404)
		}
	}
	same(t, "requests upstream for what is blocked", len(s.upstreams["public:npmjs"].Requests())-before, 0)
	s.npmPublish("c48-weak", "team", token, "inner-lib", "1.0.0").good()
	s.npmPublish("c48-weak", "team", token, "inner_lib", "1.0.0").bad("403")
	// A group of its own frees a variant.
	s.makeGroup("c48-weak", "/npm//inner_lib$")
	same(t, "with a group of its own", s.associated("c48-weak", types.PackageFormatNpm, "", "inner_lib"), "/npm//inner_lib$ STRONG")
	s.npmInstall("c48-weak", "team", token, "inner_lib@1.0.0").good()
}

// checkAllowedRepositories: app takes packages only through store, nobody
// publishes, and neither other nor store2 gets anything.
func checkAllowedRepositories(t *testing.T, s *site) {
	s.makeDomain("c49-lists")
	for _, r := range []string{"store", "store2"} {
		s.makeRepository("c49-lists", r)
		s.aws(admin(), "associate-external-connection", "--domain", "c49-lists", "--repository", r, "--external-connection", "public:npmjs").good()
	}
	s.makeRepository("c49-lists", "app", "store")
	s.makeRepository("c49-lists", "other", "store")
	s.makeGroup("c49-lists", "/npm//lib~")
	out := s.restrict("c49-lists", "/npm//lib~", "EXTERNAL_UPSTREAM=ALLOW_SPECIFIC_REPOSITORIES,INTERNAL_UPSTREAM=ALLOW_SPECIFIC_REPOSITORIES,PUBLISH=BLOCK",
		"--add-allowed-repositories", "repositoryName=store,originRestrictionType=EXTERNAL_UPSTREAM", "repositoryName=app,originRestrictionType=INTERNAL_UPSTREAM").json()
	same(t, "added", out.at("allowedRepositoryUpdates.EXTERNAL_UPSTREAM.ADDED"), `["store"]`)
	same(t, "count", out.at("packageGroup.originConfiguration.restrictions.INTERNAL_UPSTREAM.repositoriesCount"), "1")
	for _, n := range []string{"lib-one", "lib-two"} {
		s.npm.Add(npmtest.Package{Name: n, Version: "1.0.0"})
	}
	token := s.token(admin(), "c49-lists")
	s.npmInstall("c49-lists", "app", token, "lib-one").good()
	for repo, want := range map[string]int{"store": 200, "other": 404, "store2": 404} {
		same(t, "lib-two from "+repo, s.get(endpoint("npm", "c49-lists", repo)+"lib-two", token).status, want)
	}
	s.npmInstall("c49-lists", "other", token, "lib-one").bad("404")
	s.npmPublish("c49-lists", "app", token, "lib-three", "1.0.0").bad("403")

	// Lists in pages; their members are repositories that exist.
	var add []string
	for i := range 5 {
		s.makeRepository("c49-lists", fmt.Sprintf("more-%d", i))
		add = append(add, fmt.Sprintf("repositoryName=more-%d,originRestrictionType=INTERNAL_UPSTREAM", i))
	}
	update := []string{"update-package-group-origin-configuration", "--domain", "c49-lists", "--package-group", "/npm//lib~", "--add-allowed-repositories"}
	s.aws(admin(), append(update, add...)...).good()
	list := []string{"list-allowed-repositories-for-group", "--domain", "c49-lists", "--package-group", "/npm//lib~", "--origin-restriction-type", "INTERNAL_UPSTREAM"}
	got := s.aws(admin(), append(list, "--page-size", "2")...).json()
	same(t, "allowed, in pages of 2", got.at("allowedRepositories"), `["app","more-0","more-1","more-2","more-3","more-4"]`)
	s.aws(admin(), append(update, "repositoryName=nowhere,originRestrictionType=INTERNAL_UPSTREAM")...).bad("ResourceNotFoundException")
	s.aws(admin(), append(update, "repositoryName=app,originRestrictionType=PUBLISH")...).bad("ValidationException")

	// What a group holds, and what it would hold.
	holds := func(pattern string, more ...string) outcome {
		t.Helper()
		return s.aws(admin(), append([]string{"list-associated-packages", "--domain", "c49-lists", "--package-group", pattern}, more...)...)
	}
	waitFor(t, func() bool { return strings.Contains(holds("/npm//lib~").json().all("packages", "package"), "lib-one") })
	holds("/npm//lib-one$").bad("ResourceNotFoundException")
	same(t, "preview", holds("/npm//lib-one$", "--preview").json().all("packages", "package"), "lib-one")
	same(t, "preview changes nothing", s.associated("c49-lists", types.PackageFormatNpm, "", "lib-one"), "/npm//lib~ STRONG")
}

func checkSizeOnce(t *testing.T, s *site) {
	s.makeDomain("c52-size")
	content := strings.Repeat("0123456789abcdef", 4096)
	file := s.write("asset-52.bin", content)
	size := func() int64 {
		t.Helper()
		out, err := s.sdk(admin()).DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("c52-size")})
		if err != nil {
			t.Fatal(err)
		}
		return out.Domain.AssetSizeBytes
	}
	for _, r := range []string{"one", "two", "three"} {
		s.makeRepository("c52-size", r)
	}
	of := []string{"--domain", "c52-size", "--format", "generic", "--namespace", "team", "--package", "blob"}
	for _, r := range []string{"one", "two"} {
		s.aws(admin(), append([]string{"publish-package-version", "--repository", r, "--package-version", "1.0", "--asset-name", "asset.bin", "--asset-content", file,
			"--asset-sha256", sha256Hex(content)}, of...)...).good()
		same(t, "size after "+r, size(), len(content))
	}
	s.aws(admin(), append([]string{"copy-package-versions", "--source-repository", "one", "--destination-repository", "three", "--versions", "1.0"}, of...)...).good()
	same(t, "size with three repositories", size(), len(content))
	got := s.aws(admin(), "describe-domain", "--domain", "c52-size").json()
	same(t, "AWS CLI", got.at("domain.assetSizeBytes")+" "+got.at("domain.repositoryCount"), fmt.Sprint(len(content), " 3"))
	for _, r := range []string{"one", "two"} {
		s.aws(admin(), append([]string{"delete-package-versions", "--repository", r, "--versions", "1.0"}, of...)...).good()
		same(t, "size without "+r, size(), len(content))
	}
	s.aws(admin(), "delete-repository", "--domain", "c52-size", "--repository", "three").good()
	same(t, "size of nothing", size(), 0)
}
