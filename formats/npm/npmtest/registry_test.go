package npmtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func get(t *testing.T, url string, h http.Header) (*http.Response, []byte) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header = h
	if h == nil {
		q.Header = http.Header{}
	}
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestDocuments(t *testing.T) {
	r := Default()
	srv := httptest.NewServer(r)
	defer srv.Close()

	var doc struct {
		Name     string
		Tags     map[string]string `json:"dist-tags"`
		Time     map[string]string
		Modified string
		Versions map[string]struct {
			Dist struct {
				Tarball, Integrity, Shasum string
				Signatures                 []struct{ Keyid, Sig string }
			}
			Scripts map[string]string
		}
	}
	resp, body := get(t, srv.URL+"/@tiny%2fcore", nil)
	if err := json.Unmarshal(body, &doc); err != nil || resp.StatusCode != 200 {
		t.Fatalf("packument: %v %v", resp.Status, err)
	}
	if doc.Tags["beta"] != "2.0.0-beta.1" || doc.Tags["latest"] != "1.2.0" || doc.Time["1.0.0"] == "" {
		t.Errorf("packument: tags %v, time %v", doc.Tags, doc.Time)
	}
	dist := doc.Versions["1.2.0"].Dist
	key, _ := r.PublicKey()
	sig, err := base64.StdEncoding.DecodeString(dist.Signatures[0].Sig)
	sum := sha256.Sum256([]byte("@tiny/core@1.2.0:" + dist.Integrity))
	if err != nil || !ecdsa.VerifyASN1(key, sum[:], sig) {
		t.Errorf("signature of @tiny/core@1.2.0 does not verify (%v)", err)
	}
	etag := resp.Header.Get("ETag")
	if resp, _ := get(t, srv.URL+"/@tiny/core", http.Header{"If-None-Match": {etag}}); resp.StatusCode != http.StatusNotModified {
		t.Errorf("If-None-Match: got %s, want 304", resp.Status)
	}
	resp, short := get(t, srv.URL+"/@tiny%2fcore", http.Header{"Accept": {"application/vnd.npm.install-v1+json"}})
	if len(short) >= len(body) || bytes.Contains(short, []byte(`"time"`)) || !strings.Contains(resp.Header.Get("Content-Type"), "install-v1") {
		t.Errorf("abbreviated: %d bytes of %d, type %s", len(short), len(body), resp.Header.Get("Content-Type"))
	}
	resp, tgz := get(t, dist.Tarball, http.Header{"Range": {"bytes=2-"}})
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(tgz, r.Tarball("@tiny/core", "1.2.0")[2:]) {
		t.Errorf("range: got %s with %d bytes", resp.Status, len(tgz))
	}
	if _, body := get(t, srv.URL+"/tiny-retracted", nil); !bytes.Contains(body, []byte(`"1.0.1":"`)) || bytes.Contains(body, []byte("tiny-retracted-1.0.1.tgz")) {
		t.Errorf("an unpublished version must be left in time only: %s", body)
	}
	if resp, _ := get(t, srv.URL+"/tiny-nothing", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown package: got %s", resp.Status)
	}
	if resp, _ := get(t, srv.URL+"/-/npm/v1/attestations/@tiny%2fattested@1.0.0", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("attestations: got %s", resp.Status)
	}
}

func TestTarballIsRealAndStable(t *testing.T) {
	p := Package{Name: "@tiny/cli", Version: "0.3.0", Bin: map[string]string{"tiny-cli": "./bin/cli.js"}}
	tgz := tarball(p)
	if !bytes.Equal(tgz, tarball(p)) {
		t.Error("the same package gives different bytes")
	}
	z, err := gzip.NewReader(bytes.NewReader(tgz))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int64{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = h.Mode
	}
	if len(names) != 3 || names["package/bin/cli.js"] != 0o755 || names["package/package.json"] != 0o644 {
		t.Errorf("tarball holds %v", names)
	}
}

func TestImmutable(t *testing.T) {
	r := Default()
	r.Add(Package{Name: "tiny-left", Version: "1.0.0"}) // same bytes: fine
	mustPanic := func(what string, fn func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", what)
			}
		}()
		fn()
	}
	other := Package{Name: "tiny-left", Version: "1.0.0", Files: map[string]string{"index.js": "other"}}
	mustPanic("adding other bytes", func() { r.Add(other) })
	mustPanic("adding what was taken back", func() { r.Add(Package{Name: "tiny-retracted", Version: "1.0.1"}) })
	was := r.Tarball("tiny-left", "1.0.0")
	r.Mutate(other)
	if bytes.Equal(was, r.Tarball("tiny-left", "1.0.0")) {
		t.Error("Mutate left the bytes alone")
	}
}

func TestToken(t *testing.T) {
	r := Default()
	r.RequireToken("s3cret")
	srv := httptest.NewServer(r)
	defer srv.Close()
	for _, c := range []struct {
		auth string
		want int
	}{{"", 401}, {"Bearer no", 401}, {"Bearer s3cret", 200}, {"Basic " + base64.StdEncoding.EncodeToString([]byte("any:s3cret")), 200}} {
		if resp, _ := get(t, srv.URL+"/tiny-left", http.Header{"Authorization": {c.auth}}); resp.StatusCode != c.want {
			t.Errorf("Authorization %q: got %s, want %d", c.auth, resp.Status, c.want)
		}
	}
}

// TestClient installs straight from the fake with the first client of this
// machine; the format's own tests run all of them.
func TestClient(t *testing.T) {
	if testing.Short() {
		t.Skip("short: real clients are not started")
	}
	clients := Clients(t.Context())
	if len(clients) == 0 {
		if os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
			t.Fatal("none of npm, pnpm, yarn, bun is installed")
		}
		t.Skip("SKIPPED: none of the real clients npm, pnpm, yarn, bun is installed; nothing was checked")
	}
	c := clients[0]
	srv := httptest.NewServer(Default())
	defer srv.Close()
	dir := t.TempDir()
	if err := c.Project(dir, srv.URL, map[string]string{"tiny-app": "^1.0.0", "tiny-right": "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	out, err := c.Install(t.Context(), dir, t.TempDir(), false)
	if err != nil {
		t.Fatalf("%s: %v\n%s", c.Name, err, out)
	}
	if got := Installed(dir, "tiny-app") + " " + Installed(dir, "tiny-right"); got != "1.0.0 1.0.0" {
		t.Errorf("%s installed %q\n%s", c.Name, got, out)
	}
}
