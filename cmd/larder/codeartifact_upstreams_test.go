package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/npm/npmtest"
)

// chain replaces a repository's upstreams.
func (s *packageSite) chain(t *testing.T, repo string, upstreams ...string) {
	t.Helper()
	in := &codeartifact.UpdateRepositoryInput{Domain: aws.String(siteDomain), Repository: &repo, Upstreams: []types.UpstreamRepository{}}
	for _, up := range upstreams {
		in.Upstreams = append(in.Upstreams, types.UpstreamRepository{RepositoryName: aws.String(up)})
	}
	if _, err := s.api.UpdateRepository(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func (s *packageSite) deleteRepository(t *testing.T, repo string) {
	t.Helper()
	if _, err := s.api.DeleteRepository(t.Context(), &codeartifact.DeleteRepositoryInput{Domain: aws.String(siteDomain), Repository: &repo}); err != nil {
		t.Fatal(err)
	}
}

func checkRetention(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm")
	c := s.repository(t, "retain-c", "public:npmjs")
	b := s.repository(t, "retain-b", c)
	a := s.repository(t, "retain-a", b)
	s.npm.Add(npmtest.Package{Name: "retained", Version: "1.0.0", Dependencies: map[string]string{"retained-too": "1.0.0"}})
	s.npm.Add(npmtest.Package{Name: "retained-too", Version: "1.0.0"})
	s.npm.Add(npmtest.Package{Name: "retained", Version: "1.1.0"})
	s.npmrc(sh, a)
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "retained@1.0.0")
	for _, pkg := range []string{"retained", "retained-too"} {
		waitFor(t, func() bool { return s.holds(t, a, pkg, "1.0.0") && s.holds(t, c, pkg, "1.0.0") })
		if s.holds(t, b, pkg, "1.0.0") {
			t.Errorf("%s is retained in the repository between", pkg)
		}
	}
	if s.holds(t, a, "retained", "1.1.0") {
		t.Error("a version that nobody fetched is retained")
	}
	// What was published in an upstream repository is retained where it was asked.
	s.publishNpm(t, c, "retained-ours", "1.0.0")
	sh.must("app", "npm", "install", "retained-ours@1.0.0")
	waitFor(t, func() bool { return s.holds(t, a, "retained-ours", "1.0.0") })
	if s.holds(t, b, "retained-ours", "1.0.0") {
		t.Error("a published version is retained in the repository between")
	}
	s.chain(t, b)
	s.deleteRepository(t, c)
	if err := os.RemoveAll(sh.path("app/node_modules")); err != nil {
		t.Fatal(err)
	}
	sh.must("app", "npm", "ci", "--cache", t.TempDir())
	for _, pkg := range []string{"retained", "retained-too", "retained-ours"} {
		if v := npmtest.Installed(sh.path("app"), pkg); v != "1.0.0" {
			t.Errorf("%s after the upstream was deleted: %q", pkg, v)
		}
	}
	sh.fails("E404", "app", "npm", "view", "retained@1.1.0", "--cache", t.TempDir())
}

func checkDiamonds(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm")
	a, b, c, d := s.repository(t, "diamond-a"), s.repository(t, "diamond-b"), s.repository(t, "diamond-c"), s.repository(t, "diamond-d")
	s.publishNpm(t, d, "diamond", "1.0.0")
	s.publishNpm(t, c, "diamond", "1.0.0")
	s.chain(t, b, d)
	s.chain(t, c, d)
	s.chain(t, a, b, c)
	file := "diamond/-/diamond-1.0.0.tgz"
	deep := s.wants(t, 200, "GET", s.path("npm", d)+file, "").body
	wide := s.wants(t, 200, "GET", s.path("npm", c)+file, "").body
	if deep == wide {
		t.Fatal("the two do not differ")
	}
	s.npmrc(sh, a)
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "diamond@1.0.0")
	if got := sh.read(sh.path("app/node_modules/diamond/README.md")); got != "# diamond of diamond-d\n" {
		t.Errorf("depth first leads to %q", got)
	}
	// The other order asks c itself before anything below it.
	s.chain(t, "diamond-a")
	other := s.repository(t, "diamond-other", c, b)
	if got := s.wants(t, 200, "GET", s.path("npm", other)+file, "").body; got != wide {
		t.Error("the first upstream does not come before its own")
	}

	// 26 repositories: a root, ten below it, ten below the first of them, five
	// below the second. Depth first the search order is root, hub-0, leaf-0..9,
	// hub-1, more-0..4, hub-2..9; the last one is the 26th.
	var hubs, leaves, more []string
	for i := range 10 {
		leaves = append(leaves, s.repository(t, fmt.Sprintf("search-leaf-%d", i)))
	}
	for i := range 5 {
		more = append(more, s.repository(t, fmt.Sprintf("search-more-%d", i)))
	}
	for i := range 10 {
		below := map[int][]string{0: leaves, 1: more}[i]
		hubs = append(hubs, s.repository(t, fmt.Sprintf("search-hub-%d", i), below...))
	}
	root := s.repository(t, "search-root", hubs...)
	for i, repo := range append(append(append([]string{root, hubs[0]}, leaves...), hubs[1]), append(more, hubs[2:]...)...) {
		if n := i + 1; n == 2 || n == 12 || n == 18 || n == 25 || n == 26 {
			s.publishNpm(t, repo, fmt.Sprintf("search-%d", n), "1.0.0")
		}
	}
	s.npmrc(sh, root)
	for _, n := range []int{2, 12, 18, 25} {
		if got := strings.TrimSpace(sh.must("app", "npm", "view", fmt.Sprintf("search-%d", n), "version")); got != "1.0.0" {
			t.Errorf("the package of repository %d: %q", n, got)
		}
	}
	sh.fails("E404", "app", "npm", "view", "search-26", "version")
	s.wants(t, 404, "GET", s.path("npm", root)+"search-26/-/search-26-1.0.0.tgz", "")
}

func checkUpstreamDown(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm")
	repo := s.repository(t, "flaky", "public:flaky")
	s.npmrc(sh, repo)
	s.flaky.Add(npmtest.Package{Name: "kept", Version: "1.0.0"})
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "kept")
	waitFor(t, func() bool { return s.holds(t, repo, "kept", "1.0.0") })
	s.flakyUp.Stop()
	t.Cleanup(s.flakyUp.Start)
	npmApp(sh, "again")
	sh.must("again", "npm", "install", "kept", "--cache", t.TempDir())
	if v := npmtest.Installed(sh.path("again"), "kept"); v != "1.0.0" {
		t.Errorf("with the registry away: %q", v)
	}
	if a := s.send(t, "GET", s.path("npm", repo)+"never-seen", ""); a.status != 502 && a.status != 503 && a.status != 504 {
		t.Errorf("an unknown package with the registry away: %d %s", a.status, a.body)
	}
	sh.fails("never-seen", "again", "npm", "install", "never-seen")
	s.flaky.Add(npmtest.Package{Name: "never-seen", Version: "1.0.0"})
	s.flakyUp.Start()
	waitFor(t, func() bool { return s.send(t, "GET", s.path("npm", repo)+"never-seen", "").status == 200 })
	sh.must("again", "npm", "install", "never-seen")
}

func checkBeforeRetention(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	up := s.repository(t, "before-up", "public:npmjs")
	repo := s.repository(t, "before", up)
	s.npm.Add(npmtest.Package{Name: "before", Version: "1.0.0"})
	s.npmrc(sh, repo)
	if got := strings.TrimSpace(sh.must(".", "npm", "view", "before", "version")); got != "1.0.0" {
		t.Errorf("view: %q", got)
	}
	version := func(repo string) []string {
		return of(repo, "--format", "npm", "--package", "before", "--package-version", "1.0.0")
	}
	for _, r := range []string{repo, up} {
		sh.awsRefuses("ResourceNotFoundException", append([]string{"describe-package-version"}, version(r)...)...)
		sh.awsRefuses("ResourceNotFoundException", append([]string{"list-package-version-assets"}, version(r)...)...)
	}
	var packages struct{ Packages []struct{ Package string } }
	sh.aws(&packages, append([]string{"list-packages"}, of(repo)...)...)
	if len(packages.Packages) != 0 {
		t.Errorf("packages before retention: %+v", packages)
	}
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "before")
	waitFor(t, func() bool { return s.holds(t, repo, "before", "1.0.0") && s.holds(t, up, "before", "1.0.0") })
	var about struct {
		PackageVersion struct {
			Status string
			Origin struct {
				OriginType       string
				DomainEntryPoint struct{ ExternalConnectionName string }
			}
		}
	}
	sh.aws(&about, append([]string{"describe-package-version"}, version(repo)...)...)
	if v := about.PackageVersion; v.Status != "Published" || v.Origin.OriginType != "EXTERNAL" || v.Origin.DomainEntryPoint.ExternalConnectionName != "public:npmjs" {
		t.Errorf("retained: %+v", v)
	}
	sh.aws(&packages, append([]string{"list-packages"}, of(repo)...)...)
	if len(packages.Packages) != 1 || packages.Packages[0].Package != "before" {
		t.Errorf("packages after retention: %+v", packages)
	}
}

func checkOriginControls(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	repo := s.repository(t, "origin", "public:npmjs")
	s.npmrc(sh, repo)
	put := func(pkg, publish, upstream string) {
		t.Helper()
		sh.aws(nil, append([]string{"put-package-origin-configuration"}, of(repo, "--format", "npm", "--package", pkg, "--restrictions", "publish="+publish+",upstream="+upstream)...)...)
	}
	controls := func(pkg string) string {
		t.Helper()
		var got struct {
			Package struct {
				OriginConfiguration struct {
					Restrictions struct{ Publish, Upstream string }
				}
			}
		}
		sh.aws(&got, append([]string{"describe-package"}, of(repo, "--format", "npm", "--package", pkg)...)...)
		return got.Package.OriginConfiguration.Restrictions.Publish + " " + got.Package.OriginConfiguration.Restrictions.Upstream
	}
	versions := func(pkg string) string {
		t.Helper()
		return strings.Trim(strings.Join(strings.Fields(sh.must(".", "npm", "view", pkg, "versions", "--json")), ""), "[]")
	}

	// Published first: what the public registry has of that name stays away.
	s.npm.Add(npmtest.Package{Name: "origin-ours", Version: "99.0.0"})
	npmPackage(sh, "ours", "origin-ours", "1.0.0", "")
	sh.must("ours", "npm", "publish", "--tag", "latest")
	if got := versions("origin-ours"); got != `"1.0.0"` {
		t.Errorf("a look-alike is visible: %s", got)
	}
	s.wants(t, 404, "GET", s.path("npm", repo)+"origin-ours/-/origin-ours-99.0.0.tgz", "")
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "origin-ours")
	if v := npmtest.Installed(sh.path("app"), "origin-ours"); v != "1.0.0" {
		t.Errorf("installed %q", v)
	}
	if got := controls("origin-ours"); got != "ALLOW BLOCK" {
		t.Errorf("controls of a published package: %s", got)
	}
	put("origin-ours", "ALLOW", "ALLOW")
	if got := versions("origin-ours"); got != `"1.0.0","99.0.0"` {
		t.Errorf("with both allowed: %s", got)
	}
	put("origin-ours", "BLOCK", "BLOCK")
	npmPackage(sh, "blocked", "origin-ours", "1.0.1", "")
	sh.fails("E403", "blocked", "npm", "publish", "--tag", "blocked")

	// Ingested first: nobody publishes beside it.
	s.npm.Add(npmtest.Package{Name: "origin-theirs", Version: "1.0.0"})
	sh.must("app", "npm", "install", "origin-theirs")
	waitFor(t, func() bool { return s.holds(t, repo, "origin-theirs", "1.0.0") })
	if got := controls("origin-theirs"); got != "BLOCK ALLOW" {
		t.Errorf("controls of an ingested package: %s", got)
	}
	npmPackage(sh, "beside", "origin-theirs", "1.0.1", "")
	sh.fails("E403", "beside", "npm", "publish")
	put("origin-theirs", "ALLOW", "BLOCK")
	sh.must("beside", "npm", "publish")
	s.npm.Add(npmtest.Package{Name: "origin-theirs", Version: "2.0.0"})
	if got := versions("origin-theirs"); got != `"1.0.0","1.0.1"` {
		t.Errorf("with upstream blocked: %s", got)
	}
	// A package may be decided on before it exists.
	put("origin-later", "BLOCK", "ALLOW")
	npmPackage(sh, "later", "origin-later", "1.0.0", "")
	sh.fails("E403", "later", "npm", "publish")
}
