package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/npm/npmtest"
)

// statusOf is the status of a generic version of the namespace checks, "Deleted"
// where there is none.
func (s *packageSite) statusOf(t *testing.T, repo, pkg, version string) string {
	t.Helper()
	out, err := s.api.DescribePackageVersion(t.Context(), &codeartifact.DescribePackageVersionInput{Domain: aws.String(siteDomain), Repository: &repo,
		Format: types.PackageFormatGeneric, Namespace: aws.String("checks"), Package: &pkg, PackageVersion: &version})
	if errorCode(t, err) == "ResourceNotFoundException" {
		return "Deleted"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out.PackageVersion.Status)
}

// moveTo asks for a status by the operation that leads to it and returns the
// code of the failure of version, or of the whole call.
func (s *packageSite) moveTo(t *testing.T, repo, pkg, version, target string) string {
	t.Helper()
	ns, failed := aws.String("checks"), map[string]types.PackageVersionError{}
	var err error
	switch target {
	case "Disposed":
		var out *codeartifact.DisposePackageVersionsOutput
		if out, err = s.api.DisposePackageVersions(t.Context(), &codeartifact.DisposePackageVersionsInput{Domain: aws.String(siteDomain), Repository: &repo,
			Format: types.PackageFormatGeneric, Namespace: ns, Package: &pkg, Versions: []string{version}}); err == nil {
			failed = out.FailedVersions
		}
	case "Deleted":
		var out *codeartifact.DeletePackageVersionsOutput
		if out, err = s.api.DeletePackageVersions(t.Context(), &codeartifact.DeletePackageVersionsInput{Domain: aws.String(siteDomain), Repository: &repo,
			Format: types.PackageFormatGeneric, Namespace: ns, Package: &pkg, Versions: []string{version}}); err == nil {
			failed = out.FailedVersions
		}
	default:
		var out *codeartifact.UpdatePackageVersionsStatusOutput
		if out, err = s.api.UpdatePackageVersionsStatus(t.Context(), &codeartifact.UpdatePackageVersionsStatusInput{Domain: aws.String(siteDomain), Repository: &repo,
			Format: types.PackageFormatGeneric, Namespace: ns, Package: &pkg, Versions: []string{version}, TargetStatus: types.PackageVersionStatus(target)}); err == nil {
			failed = out.FailedVersions
		}
	}
	if err != nil {
		return errorCode(t, err)
	}
	return string(failed[version].ErrorCode)
}

func checkStatusMoves(t *testing.T, s *packageSite) {
	repo := s.repository(t, "status-moves")
	legal := map[string]string{
		"Unfinished": "Published Unlisted Archived Disposed Deleted",
		"Published":  "Unlisted Archived Disposed Deleted",
		"Unlisted":   "Published Archived Disposed Deleted",
		"Archived":   "Published Unlisted Disposed Deleted",
		"Disposed":   "Deleted",
	}
	for from, targets := range legal {
		for _, to := range strings.Fields("Published Unlisted Archived Disposed Deleted Unfinished") {
			if from == to {
				continue
			}
			version := from + "-to-" + to
			s.publishGeneric(t, repo, "moves", version, version, from == "Unfinished")
			if from != "Unfinished" && from != "Published" {
				if bad := s.moveTo(t, repo, "moves", version, from); bad != "" {
					t.Fatalf("to %s at first: %s", from, bad)
				}
			}
			want, after := "", to
			switch {
			case to == "Unfinished":
				want, after = "ValidationException", from
			case !strings.Contains(targets, to):
				want, after = "NOT_ALLOWED", from
			}
			if got := s.moveTo(t, repo, "moves", version, to); got != want {
				t.Errorf("%s: %q, want %q", version, got, want)
			}
			if got := s.statusOf(t, repo, "moves", version); got != after {
				t.Errorf("%s ended as %s, want %s", version, got, after)
			}
		}
	}
	if got := s.moveTo(t, repo, "moves", "never-was", "Archived"); got != "NOT_FOUND" {
		t.Errorf("an absent version: %s", got)
	}
	if got := s.moveTo(t, repo, "nobody", "1", "Archived"); got != "ResourceNotFoundException" {
		t.Errorf("an absent package: %s", got)
	}
	// A name is free again after Deleted.
	s.publishGeneric(t, repo, "moves", "Published-to-Deleted", "other bytes", false)
	for _, target := range []string{"Disposed", "Deleted"} {
		_, err := s.api.UpdatePackageVersionsStatus(t.Context(), &codeartifact.UpdatePackageVersionsStatusInput{Domain: aws.String(siteDomain), Repository: &repo, Format: types.PackageFormatGeneric,
			Namespace: aws.String("checks"), Package: aws.String("moves"), Versions: []string{"Published-to-Deleted"}, TargetStatus: types.PackageVersionStatus(target)})
		if got := errorCode(t, err); got != "ValidationException" {
			t.Errorf("update_status to %s: %s", target, got)
		}
	}
	s.statusBatches(t, repo)
}

// statusBatches holds the expectations of a batch and that it moves all or none.
func (s *packageSite) statusBatches(t *testing.T, repo string) {
	t.Helper()
	sh := s.shell(t, "aws")
	one, two := s.publishGeneric(t, repo, "batch", "1", "1", false), s.publishGeneric(t, repo, "batch", "2", "2", false)
	type outcome struct {
		SuccessfulVersions map[string]struct{ Revision, Status string }
		FailedVersions     map[string]struct{ ErrorCode, ErrorMessage string }
	}
	update := func(more ...string) (o outcome) {
		t.Helper()
		sh.aws(&o, append([]string{"update-package-versions-status"}, of(repo, append([]string{"--format", "generic", "--namespace", "checks", "--package", "batch"}, more...)...)...)...)
		return o
	}
	codes := func(o outcome) string {
		return fmt.Sprintf("%d %s %s", len(o.SuccessfulVersions), o.FailedVersions["1"].ErrorCode, o.FailedVersions["2"].ErrorCode)
	}
	o := update("--versions", "1", "2", "--version-revisions", "1="+one+",2="+one, "--target-status", "Archived")
	if got := codes(o); got != "0 SKIPPED MISMATCHED_REVISION" || !strings.Contains(o.FailedVersions["2"].ErrorMessage, "current revision: "+two) {
		t.Errorf("a wrong revision: %s %+v", got, o)
	}
	o = update("--versions", "1", "2", "--expected-status", "Unlisted", "--target-status", "Archived")
	if got := codes(o); got != "0 MISMATCHED_STATUS MISMATCHED_STATUS" || o.FailedVersions["1"].ErrorMessage != "current status: Published, expected status: Unlisted" {
		t.Errorf("a wrong status: %s %+v", got, o)
	}
	o = update("--versions", "1", "absent", "2", "--target-status", "Archived")
	if got := codes(o); got != "0 SKIPPED SKIPPED" || o.FailedVersions["absent"].ErrorCode != "NOT_FOUND" || !strings.Contains(o.FailedVersions["1"].ErrorMessage, "skipped") {
		t.Errorf("an absent version: %s %+v", got, o)
	}
	for _, v := range []string{"1", "2"} {
		if got := s.statusOf(t, repo, "batch", v); got != "Published" {
			t.Errorf("%s was moved to %s although the batch failed", v, got)
		}
	}
	o = update("--versions", "1", "2", "--version-revisions", "1="+one+",2="+two, "--expected-status", "Published", "--target-status", "Archived")
	if got := codes(o); got != "2  " || o.SuccessfulVersions["1"].Status != "Archived" || o.SuccessfulVersions["1"].Revision == "" {
		t.Errorf("all right: %s %+v", got, o)
	}
}

func checkCopy(t *testing.T, s *packageSite) {
	sh := s.shell(t, "aws", "npm")
	up := s.repository(t, "copy-up", "public:npmjs")
	from, to := s.repository(t, "copy-from", up), s.repository(t, "copy-to")
	s.npmrc(sh, from)
	npmVersions(sh, "copied", "1.0.0", "1.1.0")
	sh.must(".", "npm", "dist-tag", "add", "copied@1.0.0", "stable")
	type outcome struct {
		SuccessfulVersions map[string]struct{ Revision, Status string }
		FailedVersions     map[string]struct{ ErrorCode, ErrorMessage string }
	}
	copyTo := func(pkg string, more ...string) (o outcome) {
		t.Helper()
		sh.aws(&o, append([]string{"copy-package-versions", "--domain", siteDomain, "--source-repository", from, "--destination-repository", to, "--format", "npm", "--package", pkg}, more...)...)
		return o
	}
	if o := copyTo("copied", "--versions", "1.0.0"); len(o.SuccessfulVersions) != 1 || o.SuccessfulVersions["1.0.0"].Status != "Published" || len(o.FailedVersions) != 0 {
		t.Errorf("copy: %+v", o)
	}
	s.npmrc(sh, to)
	if got := sh.must(".", "npm", "dist-tag", "ls", "copied"); got != "stable: 1.0.0\n" && got != "latest: 1.0.0\nstable: 1.0.0\n" {
		t.Errorf("tags at the destination: %q", got)
	}
	npmApp(sh, "app")
	sh.must("app", "npm", "install", "copied@stable")
	if v := npmtest.Installed(sh.path("app"), "copied"); v != "1.0.0" {
		t.Errorf("installed %q", v)
	}
	// The same again succeeds and lists nothing; what is absent fails.
	if o := copyTo("copied", "--versions", "1.0.0"); len(o.SuccessfulVersions)+len(o.FailedVersions) != 0 {
		t.Errorf("an identical copy: %+v", o)
	}
	if o := copyTo("copied", "--versions", "1.1.0", "9.9.9"); o.FailedVersions["9.9.9"].ErrorCode != "NOT_FOUND" || o.FailedVersions["1.1.0"].ErrorCode != "SKIPPED" || len(o.SuccessfulVersions) != 0 {
		t.Errorf("an absent version: %+v", o)
	}
	// Tags follow and overwrite.
	s.npmrc(sh, from)
	sh.must(".", "npm", "dist-tag", "add", "copied@1.1.0", "stable")
	if o := copyTo("copied", "--versions", "1.1.0"); len(o.SuccessfulVersions) != 1 {
		t.Errorf("copy: %+v", o)
	}
	s.npmrc(sh, to)
	if got := sh.must(".", "npm", "dist-tag", "ls", "copied"); got != "latest: 1.1.0\nstable: 1.1.0\n" {
		t.Errorf("tags after the second copy: %q", got)
	}
	// Other bytes under the version.
	other := "copied-twice"
	s.publishNpm(t, from, other, "1.0.0")
	s.publishNpm(t, to, other, "1.0.0")
	if o := copyTo(other, "--versions", "1.0.0"); o.FailedVersions["1.0.0"].ErrorCode != "ALREADY_EXISTS" || o.FailedVersions["1.0.0"].ErrorMessage != "Version 1.0.0 already exists" {
		t.Errorf("other bytes: %+v", o)
	}
	if o := copyTo(other, "--versions", "1.0.0", "--allow-overwrite"); len(o.SuccessfulVersions) != 1 {
		t.Errorf("overwrite: %+v", o)
	}
	theirs := s.wants(t, 200, "GET", s.path("npm", from)+other+"/-/"+other+"-1.0.0.tgz", "").body
	if ours := s.wants(t, 200, "GET", s.path("npm", to)+other+"/-/"+other+"-1.0.0.tgz", "").body; ours != theirs {
		t.Error("allowOverwrite kept the old bytes")
	}
	// From upstream only when asked.
	s.npm.Add(npmtest.Package{Name: "copied-outside", Version: "1.0.0"})
	sh.awsRefuses("ResourceNotFoundException", "copy-package-versions", "--domain", siteDomain, "--source-repository", from, "--destination-repository", to, "--format", "npm", "--package", "copied-outside", "--versions", "1.0.0")
	if o := copyTo("copied-outside", "--versions", "1.0.0", "--include-from-upstream"); len(o.SuccessfulVersions) != 1 {
		t.Errorf("from upstream: %+v", o)
	}
	if !s.holds(t, to, "copied-outside", "1.0.0") {
		t.Error("the destination does not hold what was copied")
	}
	revisions := s.move(t, from, "copied", "Published", "1.0.0").SuccessfulVersions
	if o := copyTo("copied", "--version-revisions", "1.0.0=AAAA"); o.FailedVersions["1.0.0"].ErrorCode != "MISMATCHED_REVISION" {
		t.Errorf("a wrong revision: %+v", o)
	}
	if o := copyTo("copied", "--version-revisions", "1.0.0="+*revisions["1.0.0"].Revision); len(o.FailedVersions) != 0 {
		t.Errorf("the right revision: %+v", o)
	}
}
