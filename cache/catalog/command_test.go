package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// site is a catalog with a clock that moves at every look.
type site struct {
	t  *testing.T
	c  *Catalog
	db *store.DB
	n  int
}

func newSite(t *testing.T) *site {
	t.Helper()
	c, db := open(t)
	s := &site{t: t, c: c, db: db}
	c.now = func() time.Time { s.n++; return at(0).Add(time.Duration(s.n) * time.Second) }
	return s
}

// propose applies an op in the domain "team" and returns its fault, if any.
func (s *site) propose(op Op, staged ...*Staged) (*Result, *Fault) {
	s.t.Helper()
	r, err := s.c.Propose("team", "arn:aws:iam::111122223333:user/alice", op, staged...)
	if f, ok := AsFault(err); ok {
		return nil, f
	}
	if err != nil {
		s.t.Fatalf("%s: %v", op.kind(), err)
	}
	return r, nil
}

func (s *site) must(op Op, staged ...*Staged) *Result {
	s.t.Helper()
	r, f := s.propose(op, staged...)
	if f != nil {
		s.t.Fatalf("%s: %v", op.kind(), f)
	}
	return r
}

// stage puts bytes in the waiting place.
func (s *site) stage(data string) (*Staged, formats.HeldAsset) {
	s.t.Helper()
	w, err := s.db.Create(context.Background(), int64(len(data)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Release()
	if _, err := w.Write([]byte(data)); err != nil {
		s.t.Fatal(err)
	}
	st, err := s.c.Stage(w)
	if err != nil {
		s.t.Fatal(err)
	}
	return st, formats.HeldAsset{File: "package.tgz", Size: int64(len(data)), Digests: []formats.Digest{DigestOf(w.Sum())}}
}

// publish publishes one version with one file.
func (s *site) publish(repo, name, version, data string) *Fault {
	s.t.Helper()
	st, h := s.stage(data)
	defer func() {
		if err := s.c.Unstage(st); err != nil {
			s.t.Fatal(err)
		}
	}()
	_, f := s.propose(&Publish{Repository: repo, Format: "npm", Name: formats.Name{Canon: name},
		Versions: []VersionEdit{{V: version, Row: &formats.Version{V: version, Raw: []byte(`{"v":"` + version + `"}`)}, Files: []formats.HeldAsset{h}}},
		Tags:     map[string]string{"latest": version}}, st)
	return f
}

func (s *site) setUp(repos ...string) {
	s.t.Helper()
	s.must(&CreateDomain{Owner: "111122223333"})
	for _, r := range repos {
		s.must(&CreateRepository{Name: r, Administrator: "111122223333"})
	}
}

// rows reads all rows but those that only one process can know.
func (s *site) rows() map[string]string {
	out := map[string]string{}
	err := s.db.Rows(nil, nil, func(key, val []byte) error {
		out[string(key)] = string(val)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *site) ledger() (out []Entry) {
	if err := s.c.Ledger(0, func(_ uint64, e Entry) error { out = append(out, e); return nil }); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// TestReplay applies random commands, then applies the log of the first catalog
// to a second one: rows, ledger and reference counts must be the same.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			one, two := newSite(t), newSite(t)
			one.setUp("r1", "r2", "r3")
			rnd := rand.New(rand.NewPCG(seed, 7))
			for range 120 {
				one.randomStep(rnd)
			}
			// The bytes come to the second node by another way than the log.
			var kept []*Staged
			for i := range 6 {
				st, _ := two.stage(fmt.Sprint("bytes ", i))
				kept = append(kept, st)
			}
			for _, e := range one.ledger() {
				if e.Command == nil {
					continue
				}
				if _, err := two.c.Replay(e.Command); err != nil {
					t.Fatalf("replay %s: %v", e.Note, err)
				}
			}
			for _, st := range kept {
				if err := two.c.Unstage(st); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, one.rows(), two.rows())
			a, b := one.ledger(), two.ledger()
			if len(a) != len(b) {
				t.Fatalf("the ledgers have %d and %d entries", len(a), len(b))
			}
			for i := range a {
				x, _ := one.c.enc.Marshal(a[i])
				y, _ := one.c.enc.Marshal(b[i])
				if !bytes.Equal(x, y) {
					t.Fatalf("ledger entry %d: %+v and %+v", i, a[i], b[i])
				}
			}
			for _, s := range []*site{one, two} {
				rep, err := s.db.Check(context.Background(), nil)
				if err != nil || len(rep.Problems) > 0 {
					t.Errorf("check: %v %v", rep.Problems, err)
				}
			}
		})
	}
}

func compare(t *testing.T, a, b map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if got, ok := b[k]; !ok || got != a[k] {
			t.Errorf("row %q: %q became %q (%v)", k, a[k], got, ok)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			t.Errorf("row %q is new", k)
		}
	}
}

func (s *site) randomStep(rnd *rand.Rand) {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	repo, name, version := pick("r1", "r2", "r3"), pick("x", "y"), pick("1.0.0", "2.0.0", "3.0.0")
	n := formats.Name{Canon: name}
	switch rnd.IntN(12) {
	case 0, 1, 2, 3:
		s.publish(repo, name, version, fmt.Sprint("bytes ", rnd.IntN(6)))
	case 4:
		s.propose(&UpdateStatus{Repository: repo, Format: "npm", Name: n, Versions: []string{version}, Target: []formats.Status{formats.Published, formats.UnlistedStatus, formats.Archived}[rnd.IntN(3)]})
	case 5:
		s.propose(&UpdateStatus{Repository: repo, Format: "npm", Name: n, Versions: []string{version}, Target: []formats.Status{formats.DisposedStatus, formats.Deleted}[rnd.IntN(2)]})
	case 6:
		s.propose(&Copy{Source: repo, Destination: pick("r1", "r2", "r3"), Format: "npm", Name: n, Versions: []string{version}, Overwrite: rnd.IntN(2) == 0})
	case 7:
		s.propose(&PutOrigin{Repository: repo, Format: "npm", Name: n, Publish: pick(Allow, Allow, Block), Upstream: pick(Allow, Block)})
	case 8:
		s.propose(&Publish{Repository: repo, Format: "npm", Name: n, Tags: map[string]string{pick("beta", "next"): pick(version, "")}})
	case 9:
		s.propose(&SetTags{Repository: repo, Add: map[string]string{pick("k", "l"): version}, Remove: []string{pick("k", "l", "m")}})
	case 10:
		s.propose(&PutGroup{Pattern: pick("/npm/*", "/npm//x$", RootGroup), Create: rnd.IntN(2) == 0, Restrictions: map[string]string{"PUBLISH": pick("ALLOW", "ALLOW", "BLOCK")}})
	case 11:
		s.propose(&DeletePackage{Repository: repo, Format: "npm", Name: n})
	}
}

func TestPublishIsImmutable(t *testing.T) {
	s := newSite(t)
	s.setUp("r1", "r2")
	if f := s.publish("r1", "x", "1.0.0", "good"); f != nil {
		t.Fatal(f)
	}
	before := s.rows()
	if f := s.publish("r1", "x", "1.0.0", "good"); f != nil {
		t.Errorf("the same bytes again: %v", f)
	}
	compare(t, before, s.rows())
	if f := s.publish("r1", "x", "1.0.0", "evil"); f == nil || f.Kind != FaultConflict {
		t.Errorf("other bytes: %v", f)
	}
	compare(t, before, s.rows())
	if s.db.HasBlob(sha256.Sum256([]byte("evil"))) {
		t.Error("refused bytes stayed in the store")
	}
	// Deleted, the coordinate is free again; archived it is not.
	n := formats.Name{Canon: "x"}
	s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Target: formats.Archived})
	if f := s.publish("r1", "x", "1.0.0", "good"); f == nil || f.Kind != FaultConflict {
		t.Errorf("publishing an archived version: %v", f)
	}
	s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Target: formats.Deleted})
	if s.db.HasBlob(sha256.Sum256([]byte("good"))) {
		t.Error("the bytes of a deleted version stayed")
	}
	if f := s.publish("r1", "x", "1.0.0", "evil"); f != nil {
		t.Errorf("publishing under a name that is free again: %v", f)
	}
	row, err := s.c.Package(RepositoryPlace("team", "r1"), "npm", "x")
	if err != nil || row.Publish != Allow || row.Upstream != Block {
		t.Errorf("origin controls after a publish: %+v %v", row, err)
	}
}

func TestOriginControlsRefuse(t *testing.T) {
	s := newSite(t)
	s.setUp("r1")
	n := formats.Name{Canon: "x"}
	s.must(&PutOrigin{Repository: "r1", Format: "npm", Name: n, Publish: Block, Upstream: Allow})
	if f := s.publish("r1", "x", "1.0.0", "good"); f == nil || f.Kind != FaultDenied {
		t.Errorf("publish=BLOCK: %v", f)
	}
	s.must(&PutGroup{Pattern: "/npm//secret~", Create: true, Restrictions: map[string]string{"PUBLISH": "BLOCK"}})
	if f := s.publish("r1", "secret-tool", "1.0.0", "good"); f == nil || f.Kind != FaultDenied {
		t.Errorf("a group that blocks: %v", f)
	}
	if f := s.publish("r1", "SECRET", "1.0.0", "good"); f == nil || f.Kind != FaultDenied {
		t.Errorf("a look-alike: %v", f)
	}
	if f := s.publish("r1", "other", "1.0.0", "good"); f != nil {
		t.Errorf("another name: %v", f)
	}
}

func TestBatchesAreAllOrNothing(t *testing.T) {
	s := newSite(t)
	s.setUp("r1", "r2")
	for _, v := range []string{"1.0.0", "2.0.0"} {
		if f := s.publish("r1", "x", v, "bytes of "+v); f != nil {
			t.Fatal(f)
		}
	}
	n := formats.Name{Canon: "x"}
	before := s.rows()
	r := s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0", "9.9.9", "2.0.0"}, Target: formats.Archived})
	if r.Failed["9.9.9"].Code != CodeNotFound || r.Failed["1.0.0"].Code != CodeSkipped || r.Failed["2.0.0"].Code != CodeSkipped || len(r.Versions) != 0 {
		t.Errorf("one unknown version: %+v", r)
	}
	compare(t, before, s.rows())
	r = s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Expect: formats.Unfinished, Target: formats.Archived})
	if r.Failed["1.0.0"].Code != CodeStatus {
		t.Errorf("another status expected: %+v", r)
	}
	r = s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Revisions: map[string]string{"1.0.0": "no"}, Target: formats.Archived})
	if r.Failed["1.0.0"].Code != CodeRevision {
		t.Errorf("another revision expected: %+v", r)
	}
	r = s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Target: formats.DisposedStatus})
	if r.Versions["1.0.0"].Status != "Disposed" || s.db.HasBlob(sha256.Sum256([]byte("bytes of 1.0.0"))) {
		t.Errorf("dispose: %+v", r)
	}
	r = s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Target: formats.Published})
	if r.Failed["1.0.0"].Code != CodeNotAllowed {
		t.Errorf("back from Disposed: %+v", r)
	}
}

func TestCopyTakesRowsAndTags(t *testing.T) {
	s := newSite(t)
	s.setUp("r1", "r2")
	if f := s.publish("r1", "x", "1.0.0", "good"); f != nil {
		t.Fatal(f)
	}
	n := formats.Name{Canon: "x"}
	cp := &Copy{Source: "r1", Destination: "r2", Format: "npm", Name: n, Versions: []string{"1.0.0"}}
	if r := s.must(cp); r.Versions["1.0.0"].Status != "Published" {
		t.Errorf("copy: %+v", r)
	}
	if r := s.must(cp); len(r.Versions)+len(r.Failed) != 0 {
		t.Errorf("an identical copy is not listed: %+v", r)
	}
	head, err := s.c.Head(ListingKey{Place: RepositoryPlace("team", "r2"), Format: "npm", Name: "x"})
	if err != nil || head.Head.Tags["latest"] != "1.0.0" {
		t.Errorf("tags: %+v %v", head, err)
	}
	// One blob, however many repositories hold it; it outlives its first owner.
	if size, err := s.c.DomainSize("team"); err != nil || size != 4 {
		t.Errorf("size of the domain: %d %v", size, err)
	}
	s.must(&DeleteRepository{Name: "r1"})
	if !s.db.HasBlob(sha256.Sum256([]byte("good"))) {
		t.Error("the copy lost its bytes with the source")
	}
	if f := s.publish("r2", "x", "2.0.0", "more"); f != nil {
		t.Errorf("publishing beside a copy: %v", f)
	}
}

func TestRetainNeverFightsAPublish(t *testing.T) {
	s := newSite(t)
	s.setUp("r1")
	st, h := s.stage("upstream bytes")
	ret := &Retain{Repositories: []string{"r1"}, Format: "npm", Name: formats.Name{Canon: "x"}, Row: formats.Version{V: "1.0.0"},
		Hosting: formats.Hosting{Origin: formats.OriginExternal, EntryConnection: "public:npmjs"}, Files: []formats.HeldAsset{h}}
	if r := s.must(ret, st); !r.Changed {
		t.Fatal("nothing was retained")
	}
	if r := s.must(ret); r.Changed {
		t.Error("the same again changed something")
	}
	if f := s.publish("r1", "x", "1.0.1", "ours"); f == nil || f.Kind != FaultDenied {
		t.Errorf("publishing what was ingested first: %v", f)
	}
	s.must(&PutOrigin{Repository: "r1", Format: "npm", Name: formats.Name{Canon: "x"}, Publish: Allow, Upstream: Block})
	if f := s.publish("r1", "x", "1.0.0", "ours"); f == nil || f.Kind != FaultConflict {
		t.Errorf("publishing a retained version: %v", f)
	}
	if f := s.publish("r1", "x", "1.0.1", "ours"); f != nil {
		t.Errorf("publishing once it is allowed: %v", f)
	}
	ret.Row.V = "3.0.0"
	if r := s.must(ret); r.Changed {
		t.Error("upstream=BLOCK retained a version")
	}
}

func TestStagedBlobsAreSwept(t *testing.T) {
	s := newSite(t)
	s.setUp("r1")
	s.stage("half an upload")
	if !s.db.HasBlob(sha256.Sum256([]byte("half an upload"))) {
		t.Fatal("a staged blob is durable")
	}
	if _, err := New(Config{Store: s.db, Domain: "main"}); err != nil {
		t.Fatal(err)
	}
	if s.db.HasBlob(sha256.Sum256([]byte("half an upload"))) {
		t.Error("the next start left a staged blob")
	}
}

func TestControlFaults(t *testing.T) {
	s := newSite(t)
	s.setUp("r1", "r2")
	for _, c := range []struct {
		op   Op
		want FaultKind
	}{
		{&CreateDomain{Owner: "1"}, FaultConflict},
		{&DeleteDomain{}, FaultConflict},
		{&CreateRepository{Name: "r1"}, FaultConflict},
		{&CreateRepository{Name: "r9", Upstreams: []string{"nope"}}, FaultNotFound},
		{&CreateRepository{Name: "r9", Upstreams: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}}, FaultQuota},
		{&UpdateRepository{Name: "r1", Upstreams: &[]string{"r1"}}, FaultValidation},
		{&PutRepositoryPolicy{Repository: "r1", Document: "{}", Expect: "stale"}, FaultConflict},
		{&PutRepositoryPolicy{Repository: "r1"}, FaultNotFound},
		{&SetConnection{Repository: "r1", Old: "public:npmjs"}, FaultNotFound},
		{&DeleteGroup{Pattern: RootGroup}, FaultValidation},
		{&PutGroup{Pattern: "/nonsense"}, FaultNotFound},
		{&PutGroup{Pattern: "/nonsense", Create: true}, FaultValidation},
		{&SetTags{Repository: "nope"}, FaultNotFound},
	} {
		if _, f := s.propose(c.op); f == nil || f.Kind != c.want {
			t.Errorf("%s %+v: got %v, want %v", c.op.kind(), c.op, f, c.want)
		}
	}
	s.must(&UpdateRepository{Name: "r1", Upstreams: &[]string{"r2"}})
	if _, f := s.propose(&UpdateRepository{Name: "r2", Upstreams: &[]string{"r1"}}); f == nil || f.Kind != FaultValidation {
		t.Errorf("a circle: %v", f)
	}
	s.must(&PutGroup{Pattern: "/npm/*", Create: true, Restrictions: map[string]string{"PUBLISH": "ALLOW_SPECIFIC_REPOSITORIES"}, Allow: map[string][]string{"PUBLISH": {"r1", "r2"}}})
	s.must(&DeleteRepository{Name: "r2"})
	if d, _ := s.c.State().Domain("team"); fmt.Sprint(d.Groups()[0].Allowed) != "map[PUBLISH:[r1]]" {
		t.Errorf("a deleted repository is still trusted: %v", d.Groups()[0].Allowed)
	}
	d, _ := s.c.State().Domain("team")
	if r, _ := d.Repository("r1"); len(r.Upstreams) != 0 {
		t.Errorf("a deleted upstream stays linked: %v", r.Upstreams)
	}
}

// TestDeclare is the configuration's way to make repositories.
func TestDeclare(t *testing.T) {
	s := newSite(t)
	dec := &Declare{Owner: "111122223333", Repositories: []RepositoryRow{{Name: "main", Upstreams: []string{"npm-store"}}, {Name: "npm-store", Connection: "public:npmjs"}}}
	if r := s.must(dec); !r.Changed {
		t.Fatal("nothing was declared")
	}
	if r := s.must(dec); r.Changed {
		t.Error("the same again changed something")
	}
	if _, f := s.propose(&DeleteRepository{Name: "main"}); f == nil || f.Kind != FaultConflict {
		t.Errorf("deleting a declared repository: %v", f)
	}
	if f := s.publish("main", "x", "1.0.0", "good"); f != nil {
		t.Fatal(f)
	}
	// A node that is still finding out what it has takes nothing away.
	if r := s.must(&Declare{Owner: "111122223333", Partial: true}); r.Changed {
		t.Error("a partial declaration changed something")
	}
	s.must(&Declare{Owner: "111122223333"})
	d, _ := s.c.State().Domain("team")
	if fmt.Sprint(d.Repositories()) != "[main]" {
		t.Errorf("after the declaration went: %v; what was published must stay", d.Repositories())
	}
	if r, _ := d.Repository("main"); r.Declared {
		t.Error("main is still declared")
	}
}

// TestContents: every version of a name comes with its own files, and with those
// of no other name.
func TestContents(t *testing.T) {
	s := newSite(t)
	s.setUp("r1")
	for _, p := range [][2]string{{"x", "1.0.0"}, {"x", "1.0.0-rc.1"}, {"xx", "1.0.0"}, {"x", "0.9.0"}} {
		if f := s.publish("r1", p[0], p[1], p[0]+p[1]); f != nil {
			t.Fatal(f)
		}
	}
	vs, err := s.c.Contents(RepositoryPlace("team", "r1"), "npm", "x")
	if err != nil || len(vs) != 3 {
		t.Fatalf("%d versions (%v), want 3", len(vs), err)
	}
	for i, want := range []string{"1.0.0", "1.0.0-rc.1", "0.9.0"} {
		sum, ok := SumOf(vs[i].Held["package.tgz"].Digests)
		if vs[i].V != want || len(vs[i].Held) != 1 || !ok || sum != sha256.Sum256([]byte("x"+want)) {
			t.Errorf("version %d is %s with %v, want %s and its file", i, vs[i].V, vs[i].Held, want)
		}
	}
}
