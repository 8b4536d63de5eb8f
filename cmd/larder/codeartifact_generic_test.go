package main

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/npm/npmtest"
)

// of are the arguments that name a repository to the AWS CLI, and more.
func of(repo string, more ...string) []string {
	return append([]string{"--domain", siteDomain, "--repository", repo}, more...)
}

func checkGeneric(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws")
	repo := s.repository(t, "generic")
	sh.write("a.bin", "first asset\n")
	sh.write("b.bin", "second asset\n")
	sum := func(file string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(sh.read(sh.path(file))))) }
	tools := func(verb string, more ...string) []string {
		args := append([]string{verb}, of(repo, "--format", "generic", "--namespace", "tools", "--package", "kit")...)
		return append(args, more...)
	}
	publish := func(version, file, sha, asset string, more ...string) []string {
		return tools("publish-package-version", append([]string{"--package-version", version, "--asset-content", file, "--asset-sha256", sha, "--asset-name", asset}, more...)...)
	}
	type published struct {
		Status, VersionRevision string
		Asset                   struct {
			Name   string
			Size   int
			Hashes map[string]string
		}
	}
	var first, second published
	sh.aws(&first, publish("1.0", "a.bin", sum("a.bin"), "a b.bin", "--unfinished")...)
	if first.Status != "Unfinished" || first.Asset.Name != "a b.bin" || first.Asset.Size != 12 || first.Asset.Hashes["SHA-256"] != sum("a.bin") {
		t.Errorf("first asset: %+v", first)
	}
	get := tools("get-package-version-asset", "--package-version", "1.0")
	sh.awsRefuses("ResourceNotFoundException", append(slices.Clone(get), "--asset", "a b.bin", "out")...)
	sh.awsRefuses("ValidationException", publish("1.0", "b.bin", sum("a.bin"), "b.bin")...)
	sh.aws(&second, publish("1.0", "b.bin", sum("b.bin"), "b.bin")...)
	if second.Status != "Published" || second.VersionRevision == first.VersionRevision {
		t.Errorf("second asset: %+v after %+v", second, first)
	}
	for file, asset := range map[string]string{"a.bin": "a b.bin", "b.bin": "b.bin"} {
		var got struct{ AssetName, PackageVersion, PackageVersionRevision string }
		sh.aws(&got, append(slices.Clone(get), "--asset", asset, "out")...)
		if got.AssetName != asset || got.PackageVersion != "1.0" || got.PackageVersionRevision != second.VersionRevision {
			t.Errorf("headers: %+v", got)
		}
		if sh.read(sh.path("out")) != sh.read(sh.path(file)) {
			t.Errorf("%s came back with other bytes", asset)
		}
	}
	// A complete version stays as it is; the same bytes again are no change.
	sh.awsRefuses("ConflictException", publish("1.0", "a.bin", sum("a.bin"), "c.bin")...)
	sh.awsRefuses("ConflictException", publish("1.0", "b.bin", sum("b.bin"), "a b.bin")...)
	sh.aws(&second, publish("1.0", "a.bin", sum("a.bin"), "a b.bin")...)
	for _, bad := range []string{".", "..", " lead", "two  blanks", "a/b", "100%"} {
		_, err := s.api.PublishPackageVersion(t.Context(), genericAsset(repo, "tools", "kit", "2.0", bad, "x", false))
		if got := errorCode(t, err); got != "ValidationException" {
			t.Errorf("asset name %q: %s", bad, got)
		}
	}
	for _, bad := range []string{".", ".."} {
		_, err := s.api.PublishPackageVersion(t.Context(), genericAsset(repo, "tools", bad, "2.0", "x", "x", false))
		if got := errorCode(t, err); got != "ValidationException" {
			t.Errorf("package name %q: %s", bad, got)
		}
	}
}

func genericAsset(repo, ns, pkg, version, asset, content string, unfinished bool) *codeartifact.PublishPackageVersionInput {
	return &codeartifact.PublishPackageVersionInput{Domain: aws.String(siteDomain), Repository: &repo, Format: types.PackageFormatGeneric, Namespace: &ns,
		Package: &pkg, PackageVersion: &version, AssetName: &asset, AssetContent: strings.NewReader(content),
		AssetSHA256: aws.String(fmt.Sprintf("%x", sha256.Sum256([]byte(content)))), Unfinished: &unfinished}
}

// publishGeneric publishes one asset by the SDK for Go.
func (s *packageSite) publishGeneric(t *testing.T, repo, pkg, version, content string, unfinished bool) string {
	t.Helper()
	out, err := s.api.PublishPackageVersion(t.Context(), genericAsset(repo, "checks", pkg, version, "file.txt", content, unfinished))
	if err != nil {
		t.Fatal(err)
	}
	return *out.VersionRevision
}

func checkVersionLists(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	repo := s.repository(t, "version-lists", "public:npmjs")
	s.npmrc(sh, repo)
	for _, v := range []string{"1.0.0", "0.9.0", "2.0.0"} {
		s.publishNpm(t, repo, "listed", v)
	}
	type list struct {
		DefaultDisplayVersion string
		Versions              []struct {
			Version, Status, Revision string
			Origin                    struct {
				OriginType       string
				DomainEntryPoint struct{ RepositoryName, ExternalConnectionName string }
			}
		}
	}
	versions := func(pkg string, more ...string) (list, string) {
		t.Helper()
		var l list
		sh.aws(&l, append([]string{"list-package-versions"}, append(of(repo, "--format", "npm", "--package", pkg), more...)...)...)
		var names []string
		for _, v := range l.Versions {
			names = append(names, v.Version)
		}
		return l, strings.Join(names, " ")
	}
	if l, got := versions("listed", "--sort-by", "PUBLISHED_TIME"); got != "2.0.0 0.9.0 1.0.0" || l.DefaultDisplayVersion != "2.0.0" {
		t.Errorf("by time: %s, default %s", got, l.DefaultDisplayVersion)
	}
	sh.must(".", "npm", "dist-tag", "add", "listed@0.9.0", "latest")
	s.move(t, repo, "listed", "Unlisted", "1.0.0")
	l, got := versions("listed")
	if len(l.Versions) != 3 || l.DefaultDisplayVersion != "0.9.0" {
		t.Errorf("all: %s, default %s", got, l.DefaultDisplayVersion)
	}
	for _, v := range l.Versions {
		if v.Origin.OriginType != "INTERNAL" || v.Origin.DomainEntryPoint.RepositoryName != repo || len(v.Revision) != 44 {
			t.Errorf("version: %+v", v)
		}
	}
	if _, got := versions("listed", "--status", "Unlisted"); got != "1.0.0" {
		t.Errorf("Unlisted: %s", got)
	}
	if _, got := versions("listed", "--status", "Published", "--sort-by", "PUBLISHED_TIME"); got != "2.0.0 0.9.0" {
		t.Errorf("Published: %s", got)
	}
	if _, got := versions("listed", "--origin-type", "EXTERNAL"); got != "" {
		t.Errorf("EXTERNAL: %s", got)
	}
	if _, got := versions("listed", "--max-items", "1", "--page-size", "1"); strings.Contains(got, " ") || got == "" {
		t.Errorf("one page: %s", got)
	}
	out := (&site{t, s.siteRun}).boto(admin(), `
pages = ca.get_paginator("list_package_versions").paginate(domain="main", repository="`+repo+`", format="npm", package="listed",
    sortBy="PUBLISHED_TIME", PaginationConfig={"PageSize": 1})
for page in pages:
    print(page["defaultDisplayVersion"], *[v["version"] + " " + v["status"] for v in page["versions"]])
try:
    ca.describe_package_version(domain="main", repository="`+repo+`", format="npm", package="listed", packageVersion="9.9.9")
except ca.exceptions.ResourceNotFoundException as e:
    print(e.response["resourceType"], e.response["resourceId"])`).good().out
	if want := "0.9.0 2.0.0 Published\n0.9.0 0.9.0 Published\n0.9.0 1.0.0 Unlisted\npackage-version 9.9.9\n"; out != want {
		t.Errorf("boto3 says %q, want %q", out, want)
	}
	s.npm.Add(npmtest.Package{Name: "listed-outside", Version: "3.0.0"})
	s.wants(t, 200, "GET", s.path("npm", repo)+"listed-outside/-/listed-outside-3.0.0.tgz", "")
	waitFor(t, func() bool { return s.holds(t, repo, "listed-outside", "3.0.0") })
	l, got = versions("listed-outside", "--origin-type", "EXTERNAL")
	if got != "3.0.0" || l.Versions[0].Origin.DomainEntryPoint.ExternalConnectionName != "public:npmjs" {
		t.Errorf("EXTERNAL: %+v", l)
	}
	sh.awsRefuses("ResourceNotFoundException", append([]string{"list-package-versions"}, of(repo, "--format", "npm", "--package", "nobody")...)...)
}

// holds reports whether a repository itself holds a version of an npm package.
func (s *packageSite) holds(t *testing.T, repo, pkg, version string) bool {
	t.Helper()
	_, err := s.api.DescribePackageVersion(t.Context(), &codeartifact.DescribePackageVersionInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatNpm, Package: &pkg, PackageVersion: &version})
	if errorCode(t, err) == "ResourceNotFoundException" {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func checkAssets(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	repo := s.repository(t, "assets")
	s.npmrc(sh, repo)
	npmPackage(sh, "rich", "@assets/rich", "1.0.0", `,"description":"rich in facts","homepage":"https://rich.registry.example/","repository":"github:assets/rich",
"dependencies":{"a":"^1.0.0","@assets/b":"2"},"devDependencies":{"c":"3"},"peerDependencies":{"d":"4"},"optionalDependencies":{"e":"5"}`)
	sh.write("rich/README.md", "# rich\n\nwords\n")
	sh.must("rich", "npm", "publish")
	version := of(repo, "--format", "npm", "--namespace", "assets", "--package", "rich", "--package-version", "1.0.0")
	var assets struct {
		Assets []struct {
			Name   string
			Size   int
			Hashes map[string]string
		}
	}
	sh.aws(&assets, append([]string{"list-package-version-assets"}, version...)...)
	tgz := s.wants(t, 200, "GET", s.path("npm", repo)+"@assets/rich/-/rich-1.0.0.tgz", "").body
	b := []byte(tgz)
	want := map[string]string{"MD5": fmt.Sprintf("%x", md5.Sum(b)), "SHA-1": fmt.Sprintf("%x", sha1.Sum(b)),
		"SHA-256": fmt.Sprintf("%x", sha256.Sum256(b)), "SHA-512": fmt.Sprintf("%x", sha512.Sum512(b))}
	if len(assets.Assets) != 1 || assets.Assets[0].Name != "package.tgz" || assets.Assets[0].Size != len(b) || !maps.Equal(assets.Assets[0].Hashes, want) {
		t.Errorf("assets: %+v, want %d bytes and %v", assets, len(b), want)
	}
	sh.aws(nil, append(append([]string{"get-package-version-asset"}, version...), "--asset", "package.tgz", "out.tgz")...)
	if sh.read(sh.path("out.tgz")) != tgz {
		t.Error("package.tgz has other bytes than the tarball")
	}
	var deps struct {
		Dependencies []struct{ Namespace, Package, DependencyType, VersionRequirement string }
	}
	sh.aws(&deps, append([]string{"list-package-version-dependencies"}, version...)...)
	var got []string
	for _, d := range deps.Dependencies {
		got = append(got, fmt.Sprintf("%s/%s %s %s", d.Namespace, d.Package, d.VersionRequirement, d.DependencyType))
	}
	slices.Sort(got)
	if want := "/a ^1.0.0 regular, /c 3 dev, /d 4 peer, /e 5 optional, assets/b 2 regular"; strings.Join(got, ", ") != want {
		t.Errorf("dependencies: %q, want %s", got, want)
	}
	var readme struct{ Readme, VersionRevision string }
	sh.aws(&readme, append([]string{"get-package-version-readme"}, version...)...)
	if readme.Readme != "# rich\n\nwords\n" || readme.VersionRevision == "" {
		t.Errorf("readme: %+v", readme)
	}
	var about struct {
		PackageVersion struct {
			DisplayName, Summary, HomePage string
			Licenses                       []struct{ Name string }
		}
	}
	sh.aws(&about, append([]string{"describe-package-version"}, version...)...)
	if v := about.PackageVersion; v.DisplayName != "@assets/rich" || v.Summary != "rich in facts" || v.HomePage != "https://rich.registry.example/" || len(v.Licenses) != 1 || v.Licenses[0].Name != "MIT" {
		t.Errorf("description: %+v", v)
	}
	s.publishGeneric(t, repo, "plain", "1.0", "x", false)
	sh.awsRefuses("ResourceNotFoundException", append([]string{"get-package-version-readme"}, of(repo, "--format", "generic", "--namespace", "checks", "--package", "plain", "--package-version", "1.0")...)...)
	out, err := s.api.GetPackageVersionAsset(t.Context(), &codeartifact.GetPackageVersionAssetInput{Domain: aws.String(siteDomain), Repository: &repo, Format: types.PackageFormatNpm,
		Namespace: aws.String("assets"), Package: aws.String("rich"), PackageVersion: aws.String("1.0.0"), Asset: aws.String("package.tgz")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Asset.Close()
	if body, err := io.ReadAll(out.Asset); err != nil || string(body) != tgz || *out.AssetName != "package.tgz" {
		t.Errorf("by the SDK for Go: %d bytes, %v, %v", len(body), out.AssetName, err)
	}
}
