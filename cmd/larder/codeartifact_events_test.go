package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/npm/npmtest"
)

// siteEvent is what the checks read of an event.
type siteEvent struct {
	Source     string
	DetailType string `json:"detail-type"`
	Account    string
	Resources  []string
	Detail     struct {
		DomainName, RepositoryName, PackageFormat, PackageName, PackageVersion, PackageVersionState, OperationType string
		PackageVersionRevision, EventDeduplicationID                                                               string
		PackageNamespace                                                                                           *string
		SequenceNumber                                                                                             int64
		Changes                                                                                                    struct {
			AssetsAdded, AssetsRemoved, AssetsUpdated int
			MetadataUpdated, StatusChanged            bool
		}
	}
}

// events reads what was told of a package up to now.
func (s *packageSite) events(t *testing.T, pkg string) (out []siteEvent) {
	t.Helper()
	f, err := os.Open(s.eventFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e siteEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if e.Detail.PackageName == pkg {
			out = append(out, e)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func checkEvents(t *testing.T, s *packageSite) {
	up := s.repository(t, "feed-up", "public:npmjs")
	repo, to := s.repository(t, "feed", up), s.repository(t, "feed-to")
	batch := func(target string) {
		t.Helper()
		if bad := s.moveTo(t, repo, "fed", "1.0", target); bad != "" {
			t.Fatalf("%s: %s", target, bad)
		}
	}
	// Each step says which events it must cause: "OPERATION STATE REPOSITORY".
	steps := []struct {
		what, pkg string
		do        func()
		want      []string
	}{
		{"first asset", "fed", func() { s.publishGeneric(t, repo, "fed", "1.0", "one", true) }, []string{"Created Unfinished feed"}},
		{"second asset", "fed", func() {
			if _, err := s.api.PublishPackageVersion(t.Context(), genericAsset(repo, "checks", "fed", "1.0", "two.txt", "two", false)); err != nil {
				t.Fatal(err)
			}
		}, []string{"Updated Published feed"}},
		{"status", "fed", func() { batch("Unlisted") }, []string{"Updated Unlisted feed"}},
		{"copy", "fed", func() {
			if _, err := s.api.CopyPackageVersions(t.Context(), &codeartifact.CopyPackageVersionsInput{Domain: aws.String(siteDomain), SourceRepository: &repo, DestinationRepository: &to,
				Format: types.PackageFormatGeneric, Namespace: aws.String("checks"), Package: aws.String("fed"), Versions: []string{"1.0"}}); err != nil {
				t.Fatal(err)
			}
		}, []string{"Created Unlisted feed-to"}},
		{"dispose", "fed", func() { batch("Disposed") }, []string{"Updated Disposed feed"}},
		{"delete", "fed", func() { batch("Deleted") }, []string{"Deleted Deleted feed"}},
		{"ingestion and retention", "fed-outside", func() {
			s.npm.Add(npmtest.Package{Name: "fed-outside", Version: "1.0.0"})
			s.wants(t, 200, "GET", s.path("npm", repo)+"fed-outside/-/fed-outside-1.0.0.tgz", "")
		}, []string{"Created Published feed", "Created Published feed-up"}},
		{"retention of what was published", "fed-ours", func() {
			s.publishNpm(t, up, "fed-ours", "1.0.0")
			s.wants(t, 200, "GET", s.path("npm", repo)+"fed-ours/-/fed-ours-1.0.0.tgz", "")
		}, []string{"Created Published feed", "Created Published feed-up"}},
	}
	seen := map[string]int{}
	for _, step := range steps {
		step.do()
		var got []siteEvent
		waitFor(t, func() bool {
			got = s.events(t, step.pkg)[seen[step.pkg]:]
			return len(got) >= len(step.want)
		})
		seen[step.pkg] += len(got)
		told := map[string]int{}
		for _, e := range got {
			told[strings.Join([]string{e.Detail.OperationType, e.Detail.PackageVersionState, e.Detail.RepositoryName}, " ")]++
		}
		for _, want := range step.want {
			if told[want] != 1 || len(got) != len(step.want) {
				t.Errorf("%s: told %v, want once each %q", step.what, told, step.want)
				break
			}
		}
	}
	// A request that changes nothing tells nothing; a later event proves that the
	// feed has passed it.
	s.wants(t, 200, "GET", s.path("npm", repo)+"fed-ours/-/fed-ours-1.0.0.tgz", "")
	s.move(t, repo, "fed-ours", "Archived", "1.0.0")
	waitFor(t, func() bool { return len(s.events(t, "fed-ours")) > seen["fed-ours"] })
	if got := len(s.events(t, "fed-ours")) - seen["fed-ours"]; got != 1 {
		t.Errorf("one change was told %d times", got)
	}
	s.eventShapes(t, "fed", "fed-outside", "fed-ours")
	first := s.events(t, "fed")
	if c := first[0].Detail.Changes; c.AssetsAdded != 1 {
		t.Errorf("changes of the first asset: %+v", c)
	}
	if c := first[1].Detail.Changes; c.AssetsAdded != 1 || !c.StatusChanged {
		t.Errorf("changes of the second asset: %+v", c)
	}
	if c := first[2].Detail.Changes; !c.StatusChanged || c.AssetsAdded != 0 {
		t.Errorf("changes of a status: %+v", c)
	}
	if c := first[4].Detail.Changes; c.AssetsRemoved != 2 {
		t.Errorf("changes of a disposal: %+v", c)
	}
}

// eventShapes holds what is told of packages against the user guide: sequence
// numbers that rise, ids that come once, and whose change it was.
func (s *packageSite) eventShapes(t *testing.T, packages ...string) {
	t.Helper()
	ids := map[string]bool{}
	for _, pkg := range packages {
		last := map[string]int64{}
		for _, e := range s.events(t, pkg) {
			d := e.Detail
			if d.SequenceNumber <= last[d.RepositoryName] {
				t.Errorf("%s in %s: sequence number %d after %d", pkg, d.RepositoryName, d.SequenceNumber, last[d.RepositoryName])
			}
			last[d.RepositoryName] = d.SequenceNumber
			if ids[d.EventDeduplicationID] || d.EventDeduplicationID == "" {
				t.Errorf("the deduplication id %q came twice", d.EventDeduplicationID)
			}
			ids[d.EventDeduplicationID] = true
			ns := ""
			if d.PackageNamespace != nil {
				ns = *d.PackageNamespace
			}
			arn := "arn:aws:codeartifact:us-east-1:" + siteOwner + ":package/main/" + d.RepositoryName + "/" + d.PackageFormat + "/" + ns + "/" + pkg
			if e.Source != "aws.codeartifact" || e.DetailType != "CodeArtifact Package Version State Change" || e.Account != siteOwner || len(e.Resources) != 1 || e.Resources[0] != arn || d.DomainName != siteDomain {
				t.Errorf("event: %+v", e)
			}
		}
	}
}
