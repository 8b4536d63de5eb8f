package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/catalog"
	"larder/formats"
	"larder/formats/cargo/cargotest"
	"larder/formats/formattest"
	"larder/formats/golang/golangtest"
	"larder/formats/maven/maventest"
	"larder/formats/npm/npmtest"
	"larder/formats/pypi/pypitest"
	"larder/proxy"
	"larder/proxy/upstream"
)

// ecosystem is one format with its fake registry and one coordinate of it, for
// tests that hold for every format.
type ecosystem struct {
	format   string
	registry http.Handler
	base     string           // of the connection, below the upstream's URL
	listing  string           // below /FORMAT/main/
	accept   string           // what its client asks for
	mark     string           // stands in every good listing
	asset    string           // below /FORMAT/main/; other names another one of the same listing
	other    string           //
	unknown  string           // a listing that no registry has
	root     []string         // paths that look like directories, below /FORMAT/main/
	bytes    func() []byte    // of the asset
	onList   formattest.Match // the listing, upstream
	onAsset  formattest.Match // the asset, upstream
	up       *formattest.Upstream
}

// ecosystems returns all five, each with a registry of its own.
func ecosystems(t testing.TB) []*ecosystem {
	npm, pypi, maven, golang, cargo := npmtest.Default(), pypitest.New(), maventest.New(), golangtest.New(), cargotest.New()
	wheel := pypi.Files("larder-apple")[0]
	all := []*ecosystem{
		{format: "npm", registry: npm, base: "/", listing: "tiny-left", mark: "tiny-left-1.0.0.tgz", asset: "tiny-left/-/tiny-left-1.0.0.tgz", other: "tiny-left/-/tiny-left-2.0.0.tgz",
			unknown: "no-such-name", root: []string{"", "@tiny/", "tiny-left/-/"}, bytes: func() []byte { return npm.Tarball("tiny-left", "1.0.0") },
			onList: formattest.OnPath("/tiny-left"), onAsset: formattest.OnSuffix("/tiny-left-1.0.0.tgz")},
		{format: "pypi", registry: pypi, base: "/simple/", listing: "simple/larder-apple/", accept: "application/vnd.pypi.simple.v1+json", mark: wheel, asset: "simple/larder-apple/1.0/" + wheel, other: "simple/larder-apple/1.1/" + pypi.Files("larder-apple")[2],
			unknown: "simple/no-such-name/", root: []string{"", "simple/", "simple/larder-apple/1.0/"}, bytes: func() []byte { return pypi.File(wheel) },
			onList: formattest.OnPath("/simple/larder-apple/"), onAsset: formattest.OnSuffix("/" + wheel)},
		{format: "maven", registry: maven, base: "/", listing: "com/example/larder/alpha/maven-metadata.xml", mark: "<version>1.0</version>",
			asset: "com/example/larder/alpha/1.0/alpha-1.0.jar", other: "com/example/larder/alpha/1.1/alpha-1.1.jar",
			unknown: "com/example/larder/none/maven-metadata.xml", root: []string{"", "com/", "com/example/larder/alpha/", "com/example/larder/alpha/1.0/"},
			bytes:  func() []byte { b, _ := maven.File("com/example/larder/alpha/1.0/alpha-1.0.jar"); return b },
			onList: formattest.OnSuffix("/alpha/maven-metadata.xml"), onAsset: formattest.OnSuffix("/alpha-1.0.jar")},
		{format: "go", registry: golang, base: "/", listing: golangtest.Plain + "/@v/list", mark: "v1.0.0", asset: golangtest.Plain + "/@v/v1.0.0.zip", other: golangtest.Plain + "/@v/v1.2.0.zip",
			unknown: "registry.example/none/@v/list", root: []string{"", "registry.example/", golangtest.Plain + "/@v/"},
			bytes:  func() []byte { return golang.File(golangtest.Plain, "v1.0.0", "zip") },
			onList: formattest.OnSuffix("/plain/@v/list"), onAsset: formattest.OnSuffix("/plain/@v/v1.0.0.zip")},
		{format: "cargo", registry: cargo, base: cargotest.IndexPath, listing: "ti/ny/tiny-core", mark: `"vers":"1.0.0"`, asset: "api/v1/crates/tiny-core/1.0.0/download", other: "api/v1/crates/tiny-core/1.2.0/download",
			unknown: "no/-s/no-such-name", root: []string{"", "ti/", "api/v1/crates/"}, bytes: func() []byte { return cargo.Archive("tiny-core", "1.0.0") },
			onList: formattest.OnSuffix("/ti/ny/tiny-core"), onAsset: formattest.OnSuffix("tiny-core-1.0.0.crate")},
	}
	for _, e := range all {
		e.up = formattest.Serve(t, e.registry)
	}
	return all
}

func (e *ecosystem) path(rest string) string { return "/" + e.format + "/main/" + rest }

// connection is the upstream as a node is told of it; change may alter it.
func (e *ecosystem) connection() upstream.Connection {
	return upstream.Connection{Name: e.format + "-registry", URL: e.up.URL + e.base, ConnectTimeout: 5 * time.Second, HeaderTimeout: 20 * time.Second, IdleTimeout: 20 * time.Second,
		MaxConcurrent: 64, Retries: -1, BreakerFailures: -1}
}

// newMixedWorld is a node over all the given ecosystems, its store on the real
// disk in a directory of its own. change may alter it before it opens.
func newMixedWorld(t testing.TB, all []*ecosystem, change func(*world)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}, fs: vfs.NewMem(), dir: "store", budget: 20 * time.Second}
	w.free.Store(1 << 40)
	main := catalog.Repository{Name: "main", Anonymous: true}
	for _, e := range all {
		k := e.connection()
		w.conns = append(w.conns, k)
		w.catConns = append(w.catConns, catalog.Connection{Connection: formats.Connection{Name: k.Name, URL: k.URL}, Format: e.format, MetadataTTL: 5 * time.Minute})
		w.repos = append(w.repos, catalog.Repository{Name: k.Name + "-store", Connection: k.Name})
		main.Upstreams = append(main.Upstreams, k.Name+"-store")
	}
	w.repos = append(w.repos, main)
	if change != nil {
		change(w)
	}
	dialler := w.dialler
	w.dialler = func(cfg *upstream.Config) {
		cfg.Now = w.clock.now // pauses end when the test says so
		if dialler != nil {
			dialler(cfg)
		}
	}
	w.open()
	t.Cleanup(w.close)
	return w
}

// onDisk lets the store live in a real directory, and the test fail if the node
// leaves anything beside it.
func onDisk(w *world) {
	dir := w.t.TempDir()
	w.fs, w.dir = vfs.Default, filepath.Join(dir, "data", "store")
	w.t.Cleanup(func() {
		var strays []string
		filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if rel, _ := filepath.Rel(w.dir, p); err == nil && !d.IsDir() && strings.HasPrefix(rel, "..") {
				strays = append(strays, p)
			}
			return nil
		})
		if len(strays) > 0 {
			w.t.Errorf("files outside the store: %q", strays)
		}
	})
}

// fetch asks as the format's client does.
func (w *world) fetch(e *ecosystem, rest string) answer {
	w.t.Helper()
	if e.accept != "" {
		return w.get(e.path(rest), "Accept", e.accept)
	}
	return w.get(e.path(rest))
}

// works proves that nothing was lost: listing and asset are right.
func (w *world) works(e *ecosystem) {
	w.t.Helper()
	w.want(w.fetch(e, e.listing), 200, e.mark)
	if a := w.want(w.fetch(e, e.asset), 200); a.body != string(e.bytes()) {
		w.t.Errorf("%s: %d bytes differ from the registry's %d", e.format, len(a.body), len(e.bytes()))
	}
	if strings.Contains(w.get("/-/metrics").body, "larder_panics_total 0") == false {
		w.t.Errorf("%s: a request panicked", e.format)
	}
}

// refused wants an error that the format's client shows, and returns its
// message.
func (w *world) refused(e *ecosystem, a answer) string {
	w.t.Helper()
	if a.status < 400 {
		w.t.Errorf("%s: got %d (%v) %.200q, want an error", e.format, a.status, a.err, a.body)
		return ""
	}
	msg, err := message(e.format, a)
	if err != nil {
		w.t.Errorf("%s: %d is not in the client's dialect (%v): %s %.200q", e.format, a.status, err, a.header.Get("Content-Type"), a.body)
	}
	if strings.ContainsAny(msg, "\x00\r\x1b") || len(msg) > 2000 {
		w.t.Errorf("%s: unsafe message %q", e.format, msg)
	}
	return msg
}

// message reads an error as the format's client would.
func message(format string, a answer) (string, error) {
	plain := func() (string, error) {
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || strings.TrimSpace(a.body) == "" {
			return a.body, fmt.Errorf("no text")
		}
		return a.body, nil
	}
	switch format {
	case "npm":
		var v struct{ Error string }
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || v.Error == "" {
			return a.body, fmt.Errorf("no member error: %v", err)
		}
		return v.Error, nil
	case "pypi":
		if strings.HasPrefix(a.header.Get("Content-Type"), "text/") {
			return a.body, nil
		}
		var v struct{ Message string }
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || v.Message == "" {
			return a.body, fmt.Errorf("no member message: %v", err)
		}
		return v.Message, nil
	case "cargo":
		var v struct{ Errors []struct{ Detail string } }
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Errors) != 1 || v.Errors[0].Detail == "" {
			return a.body, fmt.Errorf("no errors[0].detail: %v", err)
		}
		return v.Errors[0].Detail, nil
	case "maven":
		if a.header.Get("Content-Type") == "application/problem+json" {
			var v struct{ Detail string }
			err := json.Unmarshal([]byte(a.body), &v)
			return v.Detail, err
		}
	}
	return plain()
}

// raw sends bytes as they are and reads everything until the node closes the
// connection. It returns the answers it got, in order.
func (w *world) raw(text string) []answer {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.srv.URL, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	return w.rawOn(conn, text)
}

func (w *world) rawOn(conn net.Conn, text string) []answer {
	w.t.Helper()
	go io.WriteString(conn, text) // the node may answer before it has read all
	var out []answer
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return out
		}
		body, err := io.ReadAll(resp.Body)
		out = append(out, answer{resp.StatusCode, resp.Header, string(body), err})
		if resp.Close {
			return out
		}
	}
}

// rawGet asks for a request target exactly as it is spelled.
func (w *world) rawGet(target string, header ...string) answer {
	w.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: node.example\r\nConnection: close\r\n", target)
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n")
	got := w.raw(b.String())
	if len(got) != 1 {
		w.t.Fatalf("%.80q: %d answers", target, len(got))
	}
	return got[0]
}

func limitsOf(change func(*proxy.Limits)) func(*world) {
	return func(w *world) { w.limits = change }
}

func newMemFS() vfs.FS { return vfs.NewMem() }

// smallLimits let an endless answer end soon.
func smallLimits(l *proxy.Limits) { l.MetadataMax, l.ArtifactMax = 1<<20, 8<<20 }

func blobOf(s string) [32]byte { return sha256.Sum256([]byte(s)) }
