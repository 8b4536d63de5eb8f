package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/npm/npmtest"
)

// npmrc points npm, pnpm and Yarn 1 at a repository; scopes go where it points.
func (s *packageSite) npmrc(sh *shell, repo string) {
	sh.t.Helper()
	at := s.host() + s.path("npm", repo)
	text := fmt.Sprintf("registry=http://%s\n//%s:_authToken=%s\n", at, at, s.bearer)
	if err := os.WriteFile(filepath.Join(sh.home, ".npmrc"), []byte(text), 0o600); err != nil {
		sh.t.Fatal(err)
	}
}

// npmPackage writes a package to publish from the directory dir.
func npmPackage(sh *shell, dir, name, version, more string) {
	sh.t.Helper()
	sh.write(dir+"/package.json", fmt.Sprintf(`{"name":%q,"version":%q,"license":"MIT"%s}`, name, version, more))
	sh.write(dir+"/index.js", "module.exports = '"+version+"';\n")
}

// npmVersions publishes versions with the real client.
func npmVersions(sh *shell, name string, versions ...string) {
	sh.t.Helper()
	for _, v := range versions {
		dir := "publish-" + strings.ReplaceAll(name, "/", "-") + "-" + v
		npmPackage(sh, dir, name, v, "")
		sh.must(dir, "npm", "publish")
	}
}

// npmApp makes the directory dir a project without dependencies.
func npmApp(sh *shell, dir string) {
	sh.t.Helper()
	sh.write(dir+"/package.json", `{"name":"app","version":"1.0.0","private":true}`)
}

func checkNpmRepublish(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm")
	repo := s.repository(t, "npm-republish")
	s.npmrc(sh, repo)
	npmVersions(sh, "again", "1.0.0")
	dir := "publish-again-1.0.0"
	sh.must(dir, "npm", "pack", "--pack-destination", "..")
	// npm itself refuses to publish what the registry lists, before it asks: so
	// the same document goes over the wire again, as a retry after a lost answer.
	doc := string(npmDocument("again", "1.0.0", []byte(sh.read(sh.path("again-1.0.0.tgz")))))
	s.wants(t, 201, "PUT", s.path("npm", repo)+"again", doc, "Content-Type", "application/json")
	sh.write(dir+"/index.js", "module.exports = 'changed';\n")
	sh.fails("1.0.0", dir, "npm", "publish")
	sh.must(dir, "npm", "pack", "--pack-destination", "..")
	doc = string(npmDocument("again", "1.0.0", []byte(sh.read(sh.path("again-1.0.0.tgz")))))
	a := s.wants(t, 409, "PUT", s.path("npm", repo)+"again", doc, "Content-Type", "application/json")
	var said struct{ Error string }
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || !strings.Contains(said.Error, "1.0.0") {
		t.Errorf("npm cannot read %q: %v", a.body, err)
	}
	// The newest npm looks first; --force is how to reach the registry's answer.
	out, bad, err := sh.run(dir, "npm", "publish", "--force")
	if err == nil || !strings.Contains(out+bad, "409") && !strings.Contains(out+bad, "previously published") {
		t.Errorf("npm publish --force: %v\n%s%s", err, out, bad)
	}
}

func checkNpmTags(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm")
	up := s.repository(t, "npm-tags-up")
	repo := s.repository(t, "npm-tags", up)
	s.npmrc(sh, repo)
	npmVersions(sh, "tagged", "1.0.0", "1.1.0")
	ls := func() string { return sh.must(".", "npm", "dist-tag", "ls", "tagged") }
	if got := ls(); got != "latest: 1.1.0\n" {
		t.Errorf("tags at first: %q", got)
	}
	sh.must(".", "npm", "dist-tag", "add", "tagged@1.0.0", "stable")
	if got := ls(); got != "latest: 1.1.0\nstable: 1.0.0\n" {
		t.Errorf("tags after add: %q", got)
	}
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "tagged@stable")
	if v := npmtest.Installed(sh.path("app"), "tagged"); v != "1.0.0" {
		t.Errorf("stable installs %q", v)
	}
	sh.must(".", "npm", "dist-tag", "rm", "tagged", "stable")
	if got := ls(); got != "latest: 1.1.0\n" {
		t.Errorf("tags after rm: %q", got)
	}
	sh.must(".", "npm", "deprecate", "tagged@1.0.0", "use 1.1")
	if got := sh.must(".", "npm", "view", "tagged@1.0.0", "deprecated"); strings.TrimSpace(got) != "use 1.1" {
		t.Errorf("deprecated: %q", got)
	}
	if got := sh.must(".", "npm", "view", "tagged@1.1.0", "deprecated"); strings.TrimSpace(got) != "" {
		t.Errorf("1.1.0 is deprecated too: %q", got)
	}
	sh.must(".", "npm", "deprecate", "tagged@1.0.0", "")
	if got := sh.must(".", "npm", "view", "tagged@1.0.0", "deprecated"); strings.TrimSpace(got) != "" {
		t.Errorf("still deprecated: %q", got)
	}

	// On the same tag the upstream's value wins.
	s.npmrc(sh, up)
	npmVersions(sh, "tagged", "0.9.0")
	s.origin(t, repo, types.PackageFormatNpm, "", "tagged", "ALLOW", "ALLOW")
	s.npmrc(sh, repo)
	if got := ls(); got != "latest: 0.9.0\n" {
		t.Errorf("the upstream's tag does not win: %q", got)
	}
}

// origin sets a package's origin controls.
func (s *packageSite) origin(t *testing.T, repo string, format types.PackageFormat, ns, pkg, publish, upstream string) {
	t.Helper()
	in := &codeartifact.PutPackageOriginConfigurationInput{Domain: aws.String(siteDomain), Repository: &repo, Format: format, Package: &pkg,
		Restrictions: &types.PackageOriginRestrictions{Publish: types.AllowPublish(publish), Upstream: types.AllowUpstream(upstream)}}
	if ns != "" {
		in.Namespace = &ns
	}
	if _, err := s.api.PutPackageOriginConfiguration(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func checkTarballHost(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm", "pnpm", "yarn")
	repo := s.repository(t, "npm-host", "public:npmjs")
	s.npm.Add(npmtest.Package{Name: "host-left", Version: "1.0.0"})
	s.npm.Add(npmtest.Package{Name: "@host/core", Version: "1.0.0", Dependencies: map[string]string{"host-left": "^1.0.0"}})
	s.npmrc(sh, repo)
	prefix := s.base + s.path("npm", repo)
	for _, name := range []string{"host-left", "@host/core"} {
		got := strings.TrimSpace(sh.must(".", "npm", "view", name, "dist.tarball"))
		if !strings.HasPrefix(got, prefix+name+"/-/") || strings.Contains(strings.ToLower(got), "%2f") || strings.Contains(got, ":443") {
			t.Errorf("tarball of %s at %s", name, got)
		}
	}
	// Behind a TLS proxy the client's own host comes back, without a port.
	a := s.wants(t, 200, "GET", s.path("npm", repo)+"@host%2fcore", "", "Accept", "application/json")
	if !strings.Contains(a.body, prefix+"@host/core/-/core-1.0.0.tgz") {
		t.Errorf("no tarball of this host: %s", a.body)
	}
	for _, c := range []struct{ client, lock string }{{"npm", "package-lock.json"}, {"pnpm", "pnpm-lock.yaml"}, {"yarn", "yarn.lock"}} {
		npmApp(sh, c.client)
		verb := "add"
		if c.client == "npm" {
			verb = "install"
		}
		// Yarn 1 sends its token only when told to.
		if c.client == "yarn" {
			sh.write("yarn/.npmrc", "always-auth=true\n")
		}
		sh.must(c.client, c.client, verb, "@host/core")
		if v := npmtest.Installed(sh.path(c.client), "@host/core"); v != "1.0.0" {
			t.Errorf("%s installed %q", c.client, v)
		}
		if lock := sh.read(sh.path(c.client + "/" + c.lock)); strings.Contains(lock, ":443") || strings.Contains(strings.ToLower(lock), "%2f") {
			t.Errorf("%s's lockfile:\n%s", c.client, lock)
		}
	}
}

func checkNpmStatuses(t *testing.T, s *packageSite) {
	sh := s.shell(t, "npm")
	repo := s.repository(t, "npm-statuses")
	s.npmrc(sh, repo)
	npmVersions(sh, "moody", "1.0.0", "1.1.0")
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "moody@1.1.0")
	versions := func() string {
		return strings.Join(strings.Fields(sh.must(".", "npm", "view", "moody", "versions", "--json")), "")
	}
	again := func() (string, error) {
		if err := os.RemoveAll(sh.path("app/node_modules")); err != nil {
			t.Fatal(err)
		}
		out, bad, err := sh.run("app", "npm", "ci", "--cache", t.TempDir())
		return out + bad, err
	}
	if got := versions(); got != `["1.0.0","1.1.0"]` {
		t.Errorf("versions at first: %s", got)
	}
	s.move(t, repo, "moody", "Unlisted", "1.1.0")
	if got := versions(); got != `["1.0.0"]` && got != `"1.0.0"` {
		t.Errorf("an Unlisted version is in %s", got)
	}
	if out, err := again(); err != nil {
		t.Errorf("npm ci of an Unlisted version: %v\n%s", err, out)
	}
	s.move(t, repo, "moody", "Archived", "1.1.0")
	if out, err := again(); err == nil {
		t.Errorf("npm ci of an Archived version went well:\n%s", out)
	}
	file := s.path("npm", repo) + "moody/-/moody-1.1.0.tgz"
	s.wants(t, 404, "GET", file, "")
	s.move(t, repo, "moody", "Published", "1.1.0")
	if out, err := again(); err != nil {
		t.Errorf("npm ci after it was published again: %v\n%s", err, out)
	}

	// Disposed: the bytes are gone and the name stays taken.
	if _, err := s.api.DisposePackageVersions(t.Context(), &codeartifact.DisposePackageVersionsInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatNpm, Package: aws.String("moody"), Versions: []string{"1.1.0"}}); err != nil {
		t.Fatal(err)
	}
	s.wants(t, 404, "GET", file, "")
	assets, err := s.api.ListPackageVersionAssets(t.Context(), &codeartifact.ListPackageVersionAssetsInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatNpm, Package: aws.String("moody"), PackageVersion: aws.String("1.1.0")})
	if err != nil || len(assets.Assets) != 0 {
		t.Errorf("assets of a Disposed version: %v, %v", assets, err)
	}
	dir := "publish-moody-1.1.0"
	sh.fails("", dir, "npm", "publish")
	if _, err := s.api.DeletePackageVersions(t.Context(), &codeartifact.DeletePackageVersionsInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatNpm, Package: aws.String("moody"), Versions: []string{"1.1.0"}}); err != nil {
		t.Fatal(err)
	}
	sh.write(dir+"/index.js", "module.exports = 'another';\n")
	sh.must(dir, "npm", "publish")
	sh.must("app", "npm", "install", "moody@1.1.0", "--prefer-online", "--force", "--cache", t.TempDir(), "--no-package-lock")
}

// move changes the status of versions of an npm package.
func (s *packageSite) move(t *testing.T, repo, pkg, status string, versions ...string) *codeartifact.UpdatePackageVersionsStatusOutput {
	t.Helper()
	out, err := s.api.UpdatePackageVersionsStatus(t.Context(), &codeartifact.UpdatePackageVersionsStatusInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatNpm, Package: &pkg, Versions: versions, TargetStatus: types.PackageVersionStatus(status)})
	if err != nil || len(out.FailedVersions) > 0 {
		t.Fatalf("move %s to %s: %v, %v", pkg, status, out, err)
	}
	return out
}

// publishNpm publishes a version over the wire, for checks in which that is not
// the point.
func (s *packageSite) publishNpm(t *testing.T, repo, name, version string) {
	t.Helper()
	reg := npmtest.New()
	reg.Add(npmtest.Package{Name: name, Version: version, Files: map[string]string{"README.md": "# " + name + " of " + repo + "\n"}})
	s.wants(t, 201, "PUT", s.path("npm", repo)+name, string(npmDocument(name, version, reg.Tarball(name, version))), "Content-Type", "application/json")
}
