package catalog

import (
	"testing"

	"larder/cache/store"
	"larder/formats"
)

// pinned says whether the file of a version keeps its blob from eviction.
func (s *site) pinned(repo, name, version string) bool {
	s.t.Helper()
	row, err := s.c.Asset(AssetKey{Place: RepositoryPlace("team", repo), Format: "npm", Name: name, Version: version, File: "package.tgz"})
	if err != nil {
		s.t.Fatal(err)
	}
	return row.Pinned
}

func (s *site) checked() {
	s.t.Helper()
	rep, err := s.db.Check(s.t.Context(), nil)
	if err != nil || len(rep.Problems) > 0 {
		s.t.Errorf("check: %v %v", rep.Problems, err)
	}
}

// TestVersionNamedTwice holds that a batch which names a version twice counts
// its references once: else the bytes of another repository go with it.
func TestVersionNamedTwice(t *testing.T) {
	s := newSite(t)
	s.setUp("one", "two")
	for _, repo := range []string{"one", "two"} {
		if f := s.publish(repo, "x", "1.0.0", "the same bytes"); f != nil {
			t.Fatal(f)
		}
	}
	name := formats.Name{Canon: "x"}
	s.must(&UpdateStatus{Repository: "one", Format: "npm", Name: name, Versions: []string{"1.0.0", "1.0.0"}, Target: formats.Deleted})
	row, err := s.c.Asset(AssetKey{Place: RepositoryPlace("team", "two"), Format: "npm", Name: "x", Version: "1.0.0", File: "package.tgz"})
	if err != nil {
		t.Fatal(err)
	}
	if sum, _ := SumOf(row.Digests); !s.db.HasBlob(sum) {
		t.Error("deleting in one repository took the bytes of another")
	}
	s.must(&Copy{Source: "two", Destination: "one", Format: "npm", Name: name, Versions: []string{"1.0.0", "1.0.0"}})
	s.checked()
	if n, err := s.c.HeldVersions(RepositoryPlace("team", "one"), "npm", "x"); err != nil || len(n) != 1 || n[0].Seq != 2 {
		t.Errorf("copied versions: %+v, %v", n, err)
	}
}

// TestCopyPinsWhatWasRetained holds that a version that somebody copied stays,
// though the repository retained some of its files before.
func TestCopyPinsWhatWasRetained(t *testing.T) {
	s := newSite(t)
	s.setUp("src", "dst")
	name := formats.Name{Canon: "x"}
	st, h := s.stage("bytes from outside")
	hosting := formats.Hosting{Origin: formats.OriginExternal, EntryConnection: "public"}
	s.must(&Retain{Repositories: []string{"src", "dst"}, Format: "npm", Name: name, Row: formats.Version{V: "1.0.0"}, Hosting: hosting, Files: []formats.HeldAsset{h}})
	if s.pinned("dst", "x", "1.0.0") {
		t.Fatal("what is merely retained is pinned")
	}
	s.must(&Copy{Source: "src", Destination: "dst", Format: "npm", Name: name, Versions: []string{"1.0.0"}})
	if !s.pinned("dst", "x", "1.0.0") {
		t.Error("a copied version may be evicted")
	}
	// Once more is no change.
	if r := s.must(&Copy{Source: "src", Destination: "dst", Format: "npm", Name: name, Versions: []string{"1.0.0"}}); r.Changed {
		t.Error("the same copy again is a change")
	}
	// A second file there: the version is overwritten, and the file that stays is pinned all the same.
	s.must(&UpdateStatus{Repository: "dst", Format: "npm", Name: name, Versions: []string{"1.0.0"}, Target: formats.Deleted})
	h2 := h
	h2.File = "more.tgz"
	s.must(&Retain{Repositories: []string{"src"}, Format: "npm", Name: name, Row: formats.Version{V: "1.0.0"}, Hosting: hosting, Files: []formats.HeldAsset{h2}})
	s.must(&Retain{Repositories: []string{"dst"}, Format: "npm", Name: name, Row: formats.Version{V: "1.0.0"}, Hosting: hosting, Files: []formats.HeldAsset{h}})
	s.must(&Copy{Source: "src", Destination: "dst", Format: "npm", Name: name, Versions: []string{"1.0.0"}, Overwrite: true})
	if !s.pinned("dst", "x", "1.0.0") {
		t.Error("a file of an overwritten version may be evicted")
	}
	if err := s.c.Unstage(st); err != nil {
		t.Fatal(err)
	}
	s.checked()
}

// TestRevocationsAreUnderstood holds that no revocation is kept that a gate
// cannot read, and that none narrows an earlier one.
func TestRevocationsAreUnderstood(t *testing.T) {
	s := newSite(t)
	for _, r := range []Revocation{{Kind: "tokn", Value: "x"}, {Kind: "token"}, {Value: "x"}} {
		if _, f := s.propose(&Revoke{Revocation: r}); f == nil {
			t.Errorf("%+v is kept", r)
		}
	}
	s.must(&Revoke{Revocation: Revocation{Kind: "subject", Value: "x", At: at(50)}})
	s.must(&Revoke{Revocation: Revocation{Kind: "subject", Value: "x", At: at(10)}})
	if err := s.c.Revocations(func(r Revocation) error {
		if !r.At.Equal(at(50)) {
			t.Errorf("reaches until %v", r.At)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestNamesHoldNoNUL holds that a coordinate cannot reach into the rows of
// another one by the character that parts the keys.
func TestNamesHoldNoNUL(t *testing.T) {
	s := newSite(t)
	s.setUp("one")
	for _, c := range [][2]string{{"x\x00y", "1.0.0"}, {"x", "1.0.0\x00y"}} {
		if f := s.publish("one", c[0], c[1], "bytes"); f == nil {
			t.Errorf("%q is published", c)
		}
	}
	if _, f := s.propose(&PutOrigin{Repository: "one", Format: "npm", Name: formats.Name{Canon: "x\x00y"}, Publish: Allow, Upstream: Allow}); f == nil {
		t.Error("a name with NUL has origin controls")
	}
}

// TestTwoWritersOfOneRow holds that a file which comes in on two ways at one time
// (derived from another one, and fetched by itself) counts once.
func TestTwoWritersOfOneRow(t *testing.T) {
	s := newSite(t)
	st, h := s.stage("bytes")
	k := AssetKey{Place: ConnectionPlace("public"), Format: "pypi", Name: "x", Version: "1", File: h.File}
	one, two := s.db.NewBatch(), s.db.NewBatch()
	for _, b := range []*store.Batch{one, two} {
		if err := s.c.PutAsset(b, k, h, CauseDerived); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []*store.Batch{one, two} {
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.c.Unstage(st); err != nil {
		t.Fatal(err)
	}
	s.checked()
}
