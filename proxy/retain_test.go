package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"larder/cache/catalog"
	"larder/formats"
	"larder/formats/npm/npmtest"
)

// propose applies a command in the default domain.
func (w *world) propose(op catalog.Op) *catalog.Fault {
	w.t.Helper()
	_, err := w.catalog.Propose("main", "arn:aws:iam::000000000000:user/admin", op)
	if f, ok := catalog.AsFault(err); ok {
		return f
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return nil
}

func (w *world) mustPropose(ops ...catalog.Op) {
	w.t.Helper()
	for _, op := range ops {
		if f := w.propose(op); f != nil {
			w.t.Fatalf("%T: %v", op, f)
		}
	}
}

// repo makes a repository.
func (w *world) repo(name string, upstreams ...string) {
	w.t.Helper()
	w.mustPropose(&catalog.CreateRepository{Name: name, Administrator: "000000000000", Upstreams: upstreams})
}

// connected makes a repository with the first registry as its connection.
func (w *world) connected(name string) {
	w.t.Helper()
	w.repo(name)
	w.mustPropose(&catalog.SetConnection{Repository: name, Connection: "a-registry"})
}

// read asks with the robot's token, and waits for what is retained by it.
func (w *world) read(path string) answer {
	w.t.Helper()
	a := w.get(path, "Authorization", "Bearer "+robotSecret)
	w.settle()
	return a
}

func (w *world) settle() {
	w.busy.Wait()
	w.proxy.Settle()
}

// tarball asks for x-VERSION through a repository.
func (w *world) tarball(repo, version string) answer {
	w.t.Helper()
	return w.read("/npm/" + repo + "/x/-/x-" + version + ".tgz")
}

// holds fails unless exactly the named of the repositories hold x-VERSION.
func (w *world) holds(version string, all []string, want ...string) {
	w.t.Helper()
	for _, repo := range all {
		_, err := w.catalog.Asset(catalog.AssetKey{Place: catalog.RepositoryPlace("main", repo), Format: "npm", Name: "x", Version: version, File: "x-" + version + ".tgz"})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			w.t.Fatal(err)
		}
		if held, due := err == nil, strings.Contains(" "+strings.Join(want, " ")+" ", " "+repo+" "); held != due {
			w.t.Errorf("repository %s holds %s: %v, want %v", repo, version, held, due)
		}
	}
}

// newChain is rr-a -> rr-b -> rr-c(connection).
func newChain(t *testing.T, reg *npmtest.Registry) (*world, *faulty) {
	t.Helper()
	w, fs := newWorldWith(t, "npm", withRobot, reg)
	w.connected("rr-c")
	w.repo("rr-b", "rr-c")
	w.repo("rr-a", "rr-b")
	return w, fs[0]
}

var chain = []string{"rr-a", "rr-b", "rr-c"}

// versionsOf is a registry with versions of x.
func versionsOf(versions ...string) *npmtest.Registry {
	var pkgs []npmtest.Package
	for _, v := range versions {
		pkgs = append(pkgs, npmtest.Package{Name: "x", Version: v})
	}
	return registry(pkgs...)
}

// TestRetention: what comes through a chain of repositories is kept by the one
// that was asked and by the one that has the connection, not in between (user
// guide, "package retention from upstream repositories"), and outlives them.
func TestRetention(t *testing.T) {
	reg := versionsOf("1.0.0", "2.0.0")
	w, up := newChain(t, reg)
	w.want(w.read("/npm/rr-a/x"), 200, "2.0.0")
	w.holds("1.0.0", chain)
	if a := w.want(w.tarball("rr-a", "1.0.0"), 200); a.body != string(reg.Tarball("x", "1.0.0")) {
		t.Fatal("other bytes")
	}
	w.holds("1.0.0", chain, "rr-a", "rr-c")
	w.holds("2.0.0", chain)
	// A second look changes nothing, and asks nobody.
	hits := up.hits.Load()
	w.want(w.tarball("rr-a", "1.0.0"), 200)
	w.holds("1.0.0", chain, "rr-a", "rr-c")
	if got := up.hits.Load(); got != hits {
		t.Errorf("%d requests upstream for a retained file", got-hits)
	}
	row, err := w.catalog.Held(catalog.RepositoryPlace("main", "rr-a"), "npm", "x", "1.0.0")
	if err != nil || row.Hosting.Origin != formats.OriginExternal || row.Hosting.EntryConnection != "a-registry" {
		t.Errorf("the retained version: %+v %v", row, err)
	}
	pkg, err := w.catalog.Package(catalog.RepositoryPlace("main", "rr-a"), "npm", "x")
	if err != nil || pkg.Publish != catalog.Block || pkg.Upstream != catalog.Allow {
		t.Errorf("origin controls of an ingested package: %+v %v", pkg, err)
	}

	for _, step := range []struct {
		what string
		op   catalog.Op
	}{
		{"the connection was taken away", &catalog.SetConnection{Repository: "rr-c", Old: "a-registry"}},
		{"the repository with the connection was deleted", &catalog.DeleteRepository{Name: "rr-c"}},
		{"the repository in between was deleted", &catalog.DeleteRepository{Name: "rr-b"}},
	} {
		w.mustPropose(step.op)
		if a := w.tarball("rr-a", "1.0.0"); a.status != 200 || a.body != string(reg.Tarball("x", "1.0.0")) {
			t.Errorf("%s: got %d %.200s", step.what, a.status, a.body)
		}
		w.want(w.tarball("rr-a", "2.0.0"), 404)
		if a := w.want(w.read("/npm/rr-a/x"), 200, `"1.0.0"`); strings.Contains(a.body, `"2.0.0"`) {
			t.Errorf("%s: the document lists what nobody can fetch: %.300s", step.what, a.body)
		}
	}
	w.checkHolds(reg.Tarball("x", "1.0.0"))
	// With the last repository that holds it the package goes, and its bytes stay
	// where the connection's cache has them.
	w.mustPropose(&catalog.DeleteRepository{Name: "rr-a"})
	w.want(w.tarball("rr-a", "1.0.0"), 404)
}

// TestRetentionInDiamond: of two ways to one connection the first is taken; the
// repositories in between keep nothing, and upstream is asked once.
func TestRetentionInDiamond(t *testing.T) {
	w, _ := newWorldWith(t, "npm", withRobot, versionsOf("1.0.0"))
	w.connected("rr-d")
	w.repo("rr-b", "rr-d")
	w.repo("rr-c", "rr-d")
	w.repo("rr-a", "rr-b", "rr-c")
	all := []string{"rr-a", "rr-b", "rr-c", "rr-d"}
	w.want(w.tarball("rr-a", "1.0.0"), 200)
	w.holds("1.0.0", all, "rr-a", "rr-d")
	w.want(w.tarball("rr-c", "1.0.0"), 200)
	w.holds("1.0.0", all, "rr-a", "rr-c", "rr-d")
	// Published in between, a version is retained by whoever was asked.
	w.want(w.put("/npm/rr-c/mine", documentOf("mine", "1.0.0", tarballOf("mine", "1.0.0", nil))), http.StatusCreated)
	w.want(w.read("/npm/rr-a/mine/-/mine-1.0.0.tgz"), 200)
	for repo, want := range map[string]bool{"rr-a": true, "rr-b": false, "rr-c": true, "rr-d": false} {
		_, err := w.catalog.Held(catalog.RepositoryPlace("main", repo), "npm", "mine", "1.0.0")
		if (err == nil) != want {
			t.Errorf("%s holds mine: %v, want %v", repo, err, want)
		}
	}
	w.mustPropose(&catalog.DeleteRepository{Name: "rr-c"})
	w.want(w.read("/npm/rr-a/mine/-/mine-1.0.0.tgz"), 200)
}

// TestSearchEndsAt25 publishes something in each of 31 repositories: those that
// a depth first search reaches among the first 25 are served, no other (user
// guide, "upstream repository search order"; quotas).
func TestSearchEndsAt25(t *testing.T) {
	w, _ := newWorldWith(t, "npm", withRobot, registry())
	order := []string{"root"}
	var direct []string
	for i := range 10 {
		var below []string
		for j := range 2 {
			name := fmt.Sprintf("below-%d-%d", i, j)
			w.repo(name)
			below = append(below, name)
		}
		name := fmt.Sprintf("direct-%d", i)
		w.repo(name, below...)
		direct = append(direct, name)
		order = append(append(order, name), below...)
	}
	w.repo("root", direct...)
	file := func(in, of string) string { return "/generic/" + in + "/ns/" + of + "/1.0.0/file.bin" }
	for i, repo := range order {
		w.want(w.put(file(repo, repo), noise(i, 50)), http.StatusCreated)
	}
	for i, repo := range order {
		a := w.read(file("root", repo))
		switch {
		case i < 25 && (a.status != 200 || a.body != string(noise(i, 50))):
			t.Errorf("number %d, %s: got %d, want its bytes", i+1, repo, a.status)
		case i >= 25 && a.status != 404:
			t.Errorf("number %d, %s: got %d, want 404", i+1, repo, a.status)
		}
	}
}

// TestArchivedUpstream: what an upstream repository took out of use is not served
// downstream either, also where another upstream has the version still.
func TestArchivedUpstream(t *testing.T) {
	w, _ := newWorldWith(t, "npm", withRobot, registry())
	w.repo("rr-c")
	w.repo("rr-b")
	w.repo("rr-a", "rr-b", "rr-c")
	doc := documentOf("x", "1.0.0", tarballOf("x", "1.0.0", nil))
	w.want(w.put("/npm/rr-b/x", doc), http.StatusCreated)
	w.want(w.put("/npm/rr-c/x", doc), http.StatusCreated)
	n := formats.Name{Canon: "x"}
	for _, status := range []formats.Status{formats.Archived, formats.UnlistedStatus, formats.Published, formats.Archived} {
		w.mustPropose(&catalog.UpdateStatus{Repository: "rr-b", Format: "npm", Name: n, Versions: []string{"1.0.0"}, Target: status})
		want := 200
		if status == formats.Archived {
			want = 404
		}
		a := w.get("/npm/rr-a/x/-/x-1.0.0.tgz", "Authorization", "Bearer "+robotSecret)
		if a.status != want {
			t.Errorf("%s upstream: got %d %.200s, want %d", status, a.status, a.body, want)
		}
		w.settle()
		if status != formats.Archived {
			// As if it was never asked for.
			w.holds("1.0.0", []string{"rr-a"}, "rr-a")
			w.mustPropose(&catalog.DeletePackage{Repository: "rr-a", Format: "npm", Name: n})
		} else {
			w.holds("1.0.0", []string{"rr-a"})
		}
	}
}

// TestRetainedOutlivesUpstream: with the upstream broken what is retained is
// served and listed, and what is unknown fails after one look.
func TestRetainedOutlivesUpstream(t *testing.T) {
	reg := versionsOf("1.0.0", "2.0.0")
	w, up := newChain(t, reg)
	w.want(w.tarball("rr-a", "1.0.0"), 200)
	up.breakWith(nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	w.clock.add(time.Hour)
	w.want(w.tarball("rr-a", "1.0.0"), 200)
	w.want(w.read("/npm/rr-a/x"), 200, `"1.0.0"`)
	hits := up.hits.Load()
	if a := w.read("/npm/rr-a/unknown/-/unknown-1.0.0.tgz"); a.status < 500 {
		t.Errorf("a package that only the broken upstream could know: %d", a.status)
	}
	if got := up.hits.Load() - hits; got > 2 {
		t.Errorf("%d requests to a broken upstream for one unknown file", got)
	}
	w.holds("2.0.0", chain)
}

// TestOriginControls: the package's own controls in the repository that was
// asked (user guide, "package origin controls").
func TestOriginControls(t *testing.T) {
	n := formats.Name{Canon: "x"}
	mine := func(v string) []byte { return documentOf("x", v, tarballOf("x", v, []byte("mine"))) }
	t.Run("upstream blocked", func(t *testing.T) {
		w, up := newChain(t, versionsOf("1.0.0", "2.0.0"))
		w.want(w.tarball("rr-a", "1.0.0"), 200)
		w.mustPropose(&catalog.PutOrigin{Repository: "rr-a", Format: "npm", Name: n, Publish: catalog.Allow, Upstream: catalog.Block})
		hits := up.hits.Load()
		w.want(w.tarball("rr-a", "1.0.0"), 200) // nothing retained disappears
		w.want(w.tarball("rr-a", "2.0.0"), 404)
		if a := w.want(w.read("/npm/rr-a/x"), 200, `"1.0.0"`); strings.Contains(a.body, `"2.0.0"`) {
			t.Errorf("a blocked upstream is listed: %.300s", a.body)
		}
		if up.hits.Load() != hits {
			t.Error("a blocked upstream was asked")
		}
		w.want(w.put("/npm/rr-a/x", mine("2.0.0")), http.StatusCreated) // not compared with what is upstream
		w.mustPropose(&catalog.PutOrigin{Repository: "rr-a", Format: "npm", Name: n, Publish: catalog.Allow, Upstream: catalog.Allow})
		if a := w.want(w.tarball("rr-a", "2.0.0"), 200); a.body != string(tarballOf("x", "2.0.0", []byte("mine"))) {
			t.Error("upstream's bytes took the place of what was published")
		}
		// In a repository upstream it is not blocked.
		w.want(w.tarball("rr-b", "2.0.0"), 200)
	})
	t.Run("blocked in between", func(t *testing.T) {
		w, _ := newChain(t, versionsOf("1.0.0"))
		w.mustPropose(&catalog.PutOrigin{Repository: "rr-b", Format: "npm", Name: n, Publish: catalog.Allow, Upstream: catalog.Block})
		w.want(w.tarball("rr-a", "1.0.0"), 404)
		w.want(w.tarball("rr-c", "1.0.0"), 200)
		w.want(w.tarball("rr-a", "1.0.0"), 404)
		w.holds("1.0.0", chain, "rr-c")
	})
	t.Run("ingested first", func(t *testing.T) {
		w, _ := newChain(t, versionsOf("1.0.0"))
		w.want(w.tarball("rr-a", "1.0.0"), 200)
		w.want(w.put("/npm/rr-a/x", mine("9.0.0")), http.StatusForbidden)
		w.want(w.put("/npm/rr-b/x", mine("1.0.0")), http.StatusConflict) // reachable upstream
		w.mustPropose(&catalog.PutOrigin{Repository: "rr-a", Format: "npm", Name: n, Publish: catalog.Allow, Upstream: catalog.Allow})
		w.want(w.put("/npm/rr-a/x", mine("1.0.0")), http.StatusConflict)
		w.want(w.put("/npm/rr-a/x", mine("9.0.0")), http.StatusCreated)
		w.want(w.read("/npm/rr-a/x"), 200, `"1.0.0"`, `"9.0.0"`)
	})
	t.Run("published first", func(t *testing.T) {
		w, up := newChain(t, versionsOf("2.0.0"))
		w.want(w.put("/npm/rr-a/x", mine("1.0.0")), http.StatusCreated)
		hits := up.hits.Load()
		w.want(w.tarball("rr-a", "2.0.0"), 404)
		if a := w.want(w.read("/npm/rr-a/x"), 200, `"1.0.0"`); strings.Contains(a.body, `"2.0.0"`) {
			t.Errorf("upstream's versions of a private name: %.300s", a.body)
		}
		if up.hits.Load() != hits {
			t.Error("upstream was asked for a private name")
		}
	})
}

// TestGroupOfIngestion is the example of one repository that ingests and one that
// takes from it alone: external list {rr-c}, internal list {rr-b}, publish
// blocked.
func TestGroupOfIngestion(t *testing.T) {
	w, up := newChain(t, versionsOf("1.0.0", "2.0.0"))
	w.connected("rr-z")
	group := &catalog.PutGroup{Pattern: "/npm/*", Create: true,
		Restrictions: map[string]string{"PUBLISH": "BLOCK", "EXTERNAL_UPSTREAM": "ALLOW_SPECIFIC_REPOSITORIES", "INTERNAL_UPSTREAM": "ALLOW_SPECIFIC_REPOSITORIES"},
		Allow:        map[string][]string{"EXTERNAL_UPSTREAM": {"rr-c"}, "INTERNAL_UPSTREAM": {"rr-b"}}}
	w.mustPropose(group)
	all := append([]string{"rr-z"}, chain...)
	w.want(w.tarball("rr-z", "1.0.0"), 404) // a connection, but not on the list
	w.want(w.tarball("rr-a", "1.0.0"), 404) // an upstream, but not on the list
	if n := up.hits.Load(); n != 0 {
		t.Errorf("upstream was asked %d times by repositories that may not take from it", n)
	}
	w.want(w.read("/npm/rr-z/x"), 404)
	w.holds("1.0.0", all)
	w.want(w.tarball("rr-b", "1.0.0"), 200)
	w.holds("1.0.0", all, "rr-b", "rr-c")
	w.want(w.put("/npm/rr-b/mine", documentOf("mine", "1.0.0", tarballOf("mine", "1.0.0", nil))), http.StatusForbidden)
	w.want(w.put("/generic/rr-b/ns/mine/1.0.0/file.bin", noise(1, 10)), http.StatusCreated) // another format
	// The list is widened: at once the next repository may take it.
	w.mustPropose(&catalog.PutGroup{Pattern: "/npm/*", Allow: map[string][]string{"INTERNAL_UPSTREAM": {"rr-a"}}})
	w.want(w.tarball("rr-a", "1.0.0"), 200)
	w.holds("1.0.0", all, "rr-a", "rr-b", "rr-c")
	// And narrowed: what is retained stays, nothing new comes.
	w.mustPropose(&catalog.PutGroup{Pattern: "/npm/*", Disallow: map[string][]string{"INTERNAL_UPSTREAM": {"rr-a"}, "EXTERNAL_UPSTREAM": {"rr-c"}}})
	w.want(w.tarball("rr-a", "1.0.0"), 200)
	w.want(w.tarball("rr-a", "2.0.0"), 404)
	w.want(w.tarball("rr-c", "2.0.0"), 404)
}
