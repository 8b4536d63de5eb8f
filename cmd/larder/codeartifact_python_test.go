package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/pypi/pypitest"
)

const simpleJSON = "application/vnd.pypi.simple.v1+json"

func checkSimpleAPI(t *testing.T, s *packageSite) {
	sh := s.shell(t, "pip", "curl")
	repo := s.repository(t, "pypi-simple", "public:pypi")
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	s.pypi.Add(pypitest.Package{Name: "Simple_Dist", Version: "1.0.0", Source: true, RequiresPython: ">=3.8", At: at})
	s.pypi.Add(pypitest.Package{Name: "Simple_Dist", Version: "1.1.0", At: at.AddDate(0, 1, 0)})
	endpoint := s.base + s.path("pypi", repo)
	curl := func(accept, path string) (status, kind, body string) {
		args := []string{"curl", "-sS", "-u", "aws:" + s.bearer, "-o", "body", "-w", "%{http_code} %{content_type}"}
		if accept != "none" {
			args = append(args, "-H", "Accept: "+accept)
		} else {
			args = append(args, "-H", "Accept:")
		}
		status, kind, _ = strings.Cut(sh.must(".", append(args, endpoint+path)...), " ")
		return status, kind, sh.read(sh.path("body"))
	}

	status, kind, body := curl(simpleJSON, "simple/simple-dist/")
	var page struct {
		Meta struct {
			Version string `json:"api-version"`
		}
		Versions []string
		Files    []struct {
			Filename, URL string
			Hashes        map[string]string
			Size          int64
			Uploaded      string `json:"upload-time"`
			Python        string `json:"requires-python"`
		}
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || status != "200" || kind != simpleJSON {
		t.Fatalf("%s %s %v\n%s", status, kind, err, body)
	}
	// Later minor versions of 1 add members that older clients pass over.
	if !strings.HasPrefix(page.Meta.Version, "1.") || page.Meta.Version == "1.0" || strings.Join(page.Versions, " ") != "1.0.0 1.1.0" || len(page.Files) != 3 {
		t.Errorf("page: %s", body)
	}
	for _, f := range page.Files {
		want := at
		if strings.Contains(f.Filename, "1.1.0") {
			want = at.AddDate(0, 1, 0)
		}
		if got, err := time.Parse(time.RFC3339Nano, f.Uploaded); err != nil || got.Before(want) || got.Sub(want) > time.Minute {
			t.Errorf("upload-time of %s is %q, not about %s", f.Filename, f.Uploaded, want)
		}
		if int(f.Size) != len(s.pypi.File(f.Filename)) || f.Hashes["sha256"] == "" {
			t.Errorf("%s: size %d, hashes %v", f.Filename, f.Size, f.Hashes)
		}
		if strings.Contains(f.URL, "://") && !strings.HasPrefix(f.URL, endpoint+"simple/simple-dist/") {
			t.Errorf("%s lies at %s", f.Filename, f.URL)
		}
	}
	for _, accept := range []string{"none", "*/*", "text/html", "application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"} {
		status, kind, body := curl(accept, "simple/simple-dist/")
		if status != "200" || !strings.Contains(kind, "html") || !strings.Contains(body, "<a ") || !strings.Contains(body, `data-upload-time="`) {
			t.Errorf("Accept %s: %s %s\n%s", accept, status, kind, body)
		}
	}
	if status, kind, _ := curl("application/vnd.pypi.simple.latest+json", "simple/simple-dist/"); status != "200" || kind != simpleJSON {
		t.Errorf("latest+json: %s %s", status, kind)
	}
	if status, _, body := curl("application/xml", "simple/simple-dist/"); status != "406" {
		t.Errorf("application/xml: %s %s", status, body)
	}
	if status, _, body := curl(simpleJSON, "simple/"); status != "404" {
		t.Errorf("the list of all projects: %s %s", status, body)
	}
	if status, _, _ := curl(simpleJSON, "simple/simple-nobody/"); status != "404" {
		t.Errorf("an unknown project: %s", status)
	}
	index := "http://aws:" + s.bearer + "@" + s.host() + s.path("pypi", repo) + "simple/"
	sh.must(".", "pip", "install", "--target", "lib", "--index-url", index, "SIMPLE.dist<1.1")
	if _, err := os.Stat(sh.path("lib/simple_dist-1.0.0.dist-info")); err != nil {
		if _, err := os.Stat(sh.path("lib/Simple_Dist-1.0.0.dist-info")); err != nil {
			t.Error(err)
		}
	}
}

func checkTwineRevisions(t *testing.T, s *packageSite) {
	sh := s.shell(t, "twine")
	repo := s.repository(t, "pypi-twine")
	upload := func(file string) (string, error) {
		out, bad, err := sh.run(".", "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", s.base+s.path("pypi", repo), "-u", "aws", "-p", s.bearer, file)
		return out + bad, err
	}
	files := buildPython(sh, pypitest.Package{Name: "revised", Version: "1.0.0", Source: true})
	if len(files) != 2 {
		t.Fatalf("built %q", files)
	}
	revision := func() string {
		t.Helper()
		out, err := s.api.DescribePackageVersion(t.Context(), &codeartifact.DescribePackageVersionInput{Domain: aws.String(siteDomain), Repository: &repo,
			Format: types.PackageFormatPypi, Package: aws.String("revised"), PackageVersion: aws.String("1.0.0")})
		if err != nil {
			t.Fatal(err)
		}
		if out.PackageVersion.Status != types.PackageVersionStatusPublished {
			t.Errorf("status %s", out.PackageVersion.Status)
		}
		return *out.PackageVersion.Revision
	}
	if out, err := upload(files[0]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first := revision()
	// A wheel for another machine joins the version.
	if out, err := upload(files[1]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	second := revision()
	if first == second {
		t.Errorf("the revision %s is the same with another file", first)
	}
	if out, err := upload(files[1]); err != nil {
		t.Errorf("the same bytes again: %v\n%s", err, out)
	}
	if revision() != second {
		t.Error("the same bytes again changed the revision")
	}
	// Same file name, other bytes.
	other := buildPython(sh, pypitest.Package{Name: "revised", Version: "1.0.0", Source: true, Summary: "other bytes"})
	if out, err := upload(other[0]); err == nil || !strings.Contains(out, "409") {
		t.Errorf("other bytes: %v\n%s", err, out)
	}
	if revision() != second {
		t.Error("a refused upload changed the revision")
	}
}

// A version that the upstream has cannot be published.
func checkTwineConflict(t *testing.T, s *packageSite) {
	sh := s.shell(t, "twine")
	repo := s.repository(t, "pypi-conflict", "public:pypi")
	s.pypi.Add(pypitest.Package{Name: "conflicting", Version: "1.0.0"})
	upload := func(version string) (string, error) {
		file := buildPython(sh, pypitest.Package{Name: "conflicting", Version: version, Summary: "ours"})[0]
		out, bad, err := sh.run(".", "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", s.base+s.path("pypi", repo), "-u", "aws", "-p", s.bearer, file)
		return out + bad, err
	}
	if out, err := upload("1.0.0"); err == nil || !strings.Contains(out, "409") {
		t.Errorf("publishing what the upstream has: %v\n%s", err, out)
	}
	// Another version of the name is free as long as both controls allow.
	s.origin(t, repo, types.PackageFormatPypi, "", "conflicting", "ALLOW", "ALLOW")
	if out, err := upload("1.0.0"); err == nil || !strings.Contains(out, "409") {
		t.Errorf("with both allowed: %v\n%s", err, out)
	}
	if out, err := upload("2.0.0"); err != nil {
		t.Errorf("a version of our own: %v\n%s", err, out)
	}
	// Where nothing comes from upstream, there is nothing to compare with.
	s.origin(t, repo, types.PackageFormatPypi, "", "conflicting", "ALLOW", "BLOCK")
	if out, err := upload("1.0.0"); err != nil {
		t.Errorf("with upstream blocked: %v\n%s", err, out)
	}
}
