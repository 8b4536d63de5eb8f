package proxy_test

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"larder/cache/catalog"
	"larder/formats/maven/maventest"
	"larder/policy"
)

const mavenDir = "/maven/main/com/example/larder/"

func sha1Hex(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// wantChecksums asks for a document and its checksum files, which must agree.
func (w *world) wantChecksums(path string, parts ...string) answer {
	w.t.Helper()
	a := w.want(w.get(path), 200, parts...)
	w.want(w.get(path+".sha1"), 200, sha1Hex(a.body))
	w.want(w.get(path+".md5"), 200, md5Hex(a.body))
	return a
}

// A group's metadata names plugins, not versions: offline it is what was held.
func TestMavenGroupMetadataOffline(t *testing.T) {
	w, up := newWorldOf(t, "maven", maventest.New())
	online := w.wantChecksums(mavenDir+"maven-metadata.xml", "<prefix>deps</prefix>")
	w.offline(true)
	hits := up[0].hits.Load()
	if got := w.wantChecksums(mavenDir + "maven-metadata.xml"); got.body != online.body {
		t.Errorf("offline:\n%s\nonline:\n%s", got.body, online.body)
	}
	w.want(w.get("/maven/main/org/example/never/maven-metadata.xml"), 404, "not held here")
	if got := up[0].hits.Load(); got != hits {
		t.Errorf("%d upstream requests offline", got-hits)
	}
}

// An upstream's checksum file is needed once and never kept: what it said wrong
// a moment ago does not outlive its repair.
func TestMavenChecksumFilesAreNotKept(t *testing.T) {
	reg := maventest.New()
	w, up := newWorldOf(t, "maven", reg)
	const jar = "com/example/larder/natives/1.0/natives-1.0.jar"
	up[0].breakWith(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".jar.sha1") }, func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, sha1Hex("other bytes"))
	})
	if a := w.get("/maven/main/" + jar); a.status == 200 && a.err == nil {
		t.Fatal("a file with the wrong checksum was completed")
	}
	w.want(w.get("/maven/main/"+jar+".sha1"), 502, "does not match its digest")
	up[0].heal()
	want, _ := reg.File(jar)
	if a := w.want(w.get("/maven/main/"+jar), 200); a.body != string(want) {
		t.Error("not the published bytes")
	}
	place := catalog.ConnectionPlace("a-registry")
	for _, doc := range []string{jar + ".sha1", jar + ".md5"} {
		if _, err := w.catalog.Document(place, "maven", doc); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("%s is kept (%v)", doc, err)
		}
	}
	// The client's checksum files are made from the held bytes.
	hits := up[0].hits.Load()
	w.wantChecksums("/maven/main/" + jar)
	if got := up[0].hits.Load(); got != hits {
		t.Errorf("%d upstream requests for checksums of a held file", got-hits)
	}
}

// A forbidden checksum file is not an absent one: the next kind is read, and
// where all are forbidden nothing is kept.
func TestMavenForbiddenChecksumFiles(t *testing.T) {
	w, up := newWorldOf(t, "maven", maventest.New())
	forbid := func(suffixes ...string) {
		up[0].breakWith(func(r *http.Request) bool {
			return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(r.URL.Path, s) })
		}, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) })
	}
	const jar = mavenDir + "natives/1.0/natives-1.0.jar"
	forbid(".sha1", ".md5")
	if a := w.get(jar); a.status == 200 && a.err == nil {
		t.Fatal("a file whose checksum files are forbidden was completed")
	}
	w.want(w.get(jar+".sha1"), 403, "forbids its checksum files")
	forbid(".sha1")
	w.wantChecksums(jar)
}

func TestMavenAssetHeaders(t *testing.T) {
	reg := maventest.New()
	w, _ := newWorldOf(t, "maven", reg)
	const path = mavenDir + "alpha/1.1/alpha-1.1.jar"
	at := maventest.Epoch.AddDate(0, 0, 1).Format(http.TimeFormat)
	cold := w.want(w.do("HEAD", path), 200)
	if got := cold.header.Get("Last-Modified"); got != at {
		t.Errorf("HEAD before the file is held: Last-Modified %q, want %q", got, at)
	}
	want, _ := reg.File(strings.TrimPrefix(path, "/maven/main/"))
	for _, method := range []string{"GET", "HEAD", "GET"} {
		a := w.want(w.do(method, path), 200)
		if got := a.header.Get("Last-Modified"); got != at {
			t.Errorf("%s: Last-Modified %q, want the upstream's %q", method, got, at)
		}
		if got := a.header.Get("Content-Length"); got != fmt.Sprint(len(want)) {
			t.Errorf("%s: Content-Length %q, want %d", method, got, len(want))
		}
		if method == "GET" && a.body != string(want) {
			t.Error("not the published bytes")
		}
	}
	held := w.want(w.get(path), 200)
	for key, want := range map[string]string{"X-Checksum-Sha1": sha1Hex(held.body), "X-Checksum-Md5": md5Hex(held.body)} {
		if got := held.header.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if a := w.want(w.get(path, "Range", "bytes=2-5"), 206); a.body != string(want[2:6]) {
		t.Errorf("range gave %q", a.body)
	}
	w.want(w.get(path, "If-None-Match", held.header.Get("ETag")), 304)
	w.want(w.get(path, "If-Modified-Since", at), 304)
	meta := w.want(w.get(mavenDir+"alpha/maven-metadata.xml"), 200)
	if got, want := meta.header.Get("Last-Modified"), maventest.Epoch.AddDate(0, 0, 3).Format(http.TimeFormat); got != want {
		t.Errorf("metadata: Last-Modified %q, want %q", got, want)
	}
	w.want(w.get(mavenDir+"alpha/maven-metadata.xml", "If-None-Match", meta.header.Get("ETag")), 304)
}

func TestMavenSnapshotBuiltAgain(t *testing.T) {
	reg := maventest.Empty()
	p := maventest.Package{Group: maventest.Group, Artifact: "snap", Version: "1.0-SNAPSHOT"}
	reg.AddSnapshot(p, maventest.Epoch, 1)
	w, up := newWorldOf(t, "maven", reg)
	const dir = mavenDir + "snap/1.0-SNAPSHOT/"
	const first, second = "snap-1.0-20240301.120000-1", "snap-1.0-20240302.120000-2"
	w.wantChecksums(dir+"maven-metadata.xml", "<buildNumber>1</buildNumber>")
	w.want(w.get(dir+first+".pom"), 200)
	w.want(w.get(dir+first+".jar"), 200)

	reg.AddSnapshot(p, maventest.Epoch.AddDate(0, 0, 1), 2)
	w.wantChecksums(dir+"maven-metadata.xml", "<buildNumber>1</buildNumber>")
	w.clock.add(6 * time.Minute)
	w.wantChecksums(dir+"maven-metadata.xml", "<buildNumber>2</buildNumber>", strings.TrimPrefix(second, "snap-"))
	w.want(w.get(dir+second+".pom"), 200)

	// Offline the newest build that is held whole is named, not the newest.
	w.offline(true)
	hits := up[0].hits.Load()
	w.wantChecksums(dir+"maven-metadata.xml", strings.TrimPrefix(first, "snap-"))
	w.want(w.get(dir+first+".jar"), 200)
	w.want(w.get(dir+second+".jar"), 404, "not held here")
	w.want(w.get(mavenDir+"snap/maven-metadata.xml"), 200, "1.0-SNAPSHOT")
	if got := up[0].hits.Load(); got != hits {
		t.Errorf("%d upstream requests offline", got-hits)
	}
}

// A rule that names a snapshot covers its builds, whose names nobody knows
// beforehand.
func TestMavenBlockedSnapshot(t *testing.T) {
	reg := maventest.Empty()
	reg.AddSnapshot(maventest.Package{Group: maventest.Group, Artifact: "snap", Version: "1.0-SNAPSHOT"}, maventest.Epoch, 1)
	reg.AddSnapshot(maventest.Package{Group: maventest.Group, Artifact: "snap", Version: "2.0-SNAPSHOT"}, maventest.Epoch, 1)
	w, _ := newWorldOf(t, "maven", reg)
	jar := func(v string) string {
		return mavenDir + "snap/" + v + "-SNAPSHOT/snap-" + v + "-20240301.120000-1.jar"
	}
	w.want(w.get(jar("1.0")), 200)
	w.site.Rules = w.rules(policy.Config{Blocks: []policy.Block{{Format: "maven", Name: maventest.Group + ":snap", Versions: []string{"1.0-SNAPSHOT"}, Reason: "broken"}}})
	w.proxy.Reload(w.site)
	w.want(w.get(mavenDir+"snap/1.0-SNAPSHOT/maven-metadata.xml"), 403, "broken")
	w.want(w.get(jar("1.0")), 403, "broken")
	w.want(w.get(jar("1.0")+".sha1"), 403, "broken")
	w.want(w.get(jar("2.0")), 200)
	w.offline(true)
	w.want(w.get(jar("1.0")), 403, "broken")
}

// Versions of two upstreams are united; each belongs to the first that has it.
func TestMavenMerge(t *testing.T) {
	pkg := func(version, note string, classifiers ...string) maventest.Package {
		return maventest.Package{Group: maventest.Group, Artifact: "alpha", Version: version, Note: note, Classifiers: classifiers}
	}
	first, second := maventest.Empty(), maventest.Empty()
	first.Add(pkg("1.0", "first"))
	first.Add(pkg("1.2", "first"))
	second.Add(pkg("1.0", "second", "tests"))
	second.Add(pkg("1.1", "second"))
	second.Add(pkg("2.0-SNAPSHOT", "second"))
	first.AddPlugin(maventest.Group, "one-maven-plugin", "one", "1.0")
	second.AddPlugin(maventest.Group, "two-maven-plugin", "two", "1.0")
	w, up := newWorldOf(t, "maven", first, second)
	w.wantChecksums(mavenDir+"maven-metadata.xml", "<prefix>one</prefix>", "<prefix>two</prefix>")
	meta := w.wantChecksums(mavenDir+"alpha/maven-metadata.xml", "<latest>2.0-SNAPSHOT</latest>", "<release>1.2</release>")
	last := -1
	for _, v := range []string{"1.0", "1.1", "1.2", "2.0-SNAPSHOT"} {
		tag := "<version>" + v + "</version>"
		if strings.Count(meta.body, tag) != 1 || strings.Index(meta.body, tag) < last {
			t.Errorf("%s is not there once and in order:\n%s", tag, meta.body)
		}
		last = strings.Index(meta.body, tag)
	}

	// A file that only the second has does not give it the version.
	for version, reg := range map[string]*maventest.Registry{"1.0": first, "1.1": second, "1.2": first} {
		if version == "1.0" {
			w.want(w.get(mavenDir+"alpha/1.0/alpha-1.0-tests.jar"), 404)
		}
		for _, ext := range []string{".jar", ".pom"} {
			path := "com/example/larder/alpha/" + version + "/alpha-" + version + ext
			want, _ := reg.File(path)
			if a := w.want(w.get("/maven/main/"+path), 200); a.body != string(want) {
				t.Errorf("%s is not of the first upstream that has the version", path)
			}
		}
	}

	// Nor does a build of a snapshot that the first builds too.
	snap := maventest.Package{Group: maventest.Group, Artifact: "snap", Version: "1.0-SNAPSHOT"}
	first.AddSnapshot(snap, maventest.Epoch, 1)
	second.AddSnapshot(snap, maventest.Epoch.AddDate(0, 0, 1), 2)
	w.want(w.get(mavenDir+"snap/1.0-SNAPSHOT/snap-1.0-20240302.120000-2.jar"), 404)
	w.wantChecksums(mavenDir+"snap/1.0-SNAPSHOT/maven-metadata.xml", "<buildNumber>1</buildNumber>")
	w.want(w.get(mavenDir+"snap/1.0-SNAPSHOT/snap-1.0-20240301.120000-1.jar"), 200)

	// A first upstream that cannot say whether it has the version gives nothing
	// away to the next.
	second.Add(maventest.Package{Group: maventest.Group, Artifact: "unsure", Version: "1.0"})
	up[0].breakWith(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".pom") }, func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusForbidden)
	})
	w.want(w.get(mavenDir+"unsure/1.0/unsure-1.0.jar"), 403)
	up[0].heal()
	w.want(w.get(mavenDir+"unsure/1.0/unsure-1.0.jar"), 200)

	// An upstream that fails gives nothing away to the next.
	up[0].breakWith(nil, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
	second.Add(maventest.Package{Group: maventest.Group, Artifact: "later", Version: "1.0"})
	if a := w.get(mavenDir + "later/1.0/later-1.0.pom"); a.status < 500 {
		t.Errorf("with the first upstream failing, the second's file came with %d", a.status)
	}
}

// Offline a version is listed when its POM and a file that can be used are held.
func TestMavenOfflineVersions(t *testing.T) {
	w, up := newWorldOf(t, "maven", maventest.New())
	w.want(w.get(mavenDir+"alpha/maven-metadata.xml"), 200, "<version>2.0</version>")
	for _, file := range []string{
		"alpha/1.0/alpha-1.0.pom", "alpha/1.0/alpha-1.0.jar",
		"alpha/1.1/alpha-1.1.pom", "alpha/1.1/alpha-1.1-sources.jar", "alpha/1.1/alpha-1.1.pom.asc",
		"alpha/2.0/alpha-2.0.jar",
		"bom/1/bom-1.pom",
		"beta/1.1/beta-1.1.pom",
	} {
		w.want(w.get(mavenDir+file), 200)
	}
	w.offline(true)
	hits := up[0].hits.Load()
	alpha := w.wantChecksums(mavenDir+"alpha/maven-metadata.xml", "<version>1.0</version>", "<latest>1.0</latest>", "<release>1.0</release>")
	if strings.Count(alpha.body, "<version>") != 1 {
		t.Errorf("more than 1.0 is listed:\n%s", alpha.body)
	}
	w.wantChecksums(mavenDir+"bom/maven-metadata.xml", "<version>1</version>")
	w.want(w.get(mavenDir+"beta/maven-metadata.xml"), 404, "not held here")
	if got := up[0].hits.Load(); got != hits {
		t.Errorf("%d upstream requests offline", got-hits)
	}
}

// A file that the upstream does not have is not asked for again and again, and
// is asked for at once when the name changes.
func TestMavenAbsentFilesAreRemembered(t *testing.T) {
	reg := maventest.New()
	w, up := newWorldOf(t, "maven", reg)
	const jar = mavenDir + "alpha/3.0/alpha-3.0.jar"
	asked := func(want int64, what string) {
		t.Helper()
		if got := up[0].hits.Swap(0); got != want {
			t.Errorf("%s: %d upstream requests, want %d", what, got, want)
		}
	}
	w.want(w.get(jar), 404, "was not found upstream")
	w.want(w.do("HEAD", jar), 404)
	w.want(w.get(jar+".sha1"), 404)
	asked(1, "three questions")
	w.clock.add(31 * time.Second)
	w.want(w.get(jar), 404)
	asked(1, "after the negative time")
	reg.Add(maventest.Package{Group: maventest.Group, Artifact: "alpha", Version: "3.0"})
	w.want(w.get(mavenDir+"alpha/maven-metadata.xml"), 200, "<version>3.0</version>")
	w.want(w.get(jar), 200)
}
