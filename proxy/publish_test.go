package proxy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"larder/proxy"
	"larder/proxy/access"
)

const robotSecret = "robot-secret"

// withRobot lets a token publish.
func withRobot(w *world) {
	sum := sha256.Sum256([]byte(robotSecret))
	w.access = func(cfg *access.Config) {
		cfg.Tokens = append(cfg.Tokens, access.Token{Name: "robot", SHA256: hex.EncodeToString(sum[:]), Policies: []string{access.Publisher}})
	}
}

// put publishes as the robot. It may run beside others.
func (w *world) put(path string, body []byte) answer {
	return w.send(http.MethodPut, path, bytes.NewReader(body), "Authorization", "Bearer "+robotSecret)
}

// noise is bytes that follow from a number.
func noise(seed, size int) []byte {
	b := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rnd.Read(b)
	return b
}

// tarballOf is an npm package with a file of the given bytes.
func tarballOf(name, version string, data []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range []struct {
		name string
		data []byte
	}{{"package/package.json", fmt.Appendf(nil, `{"name":%q,"version":%q}`, name, version)}, {"package/data", data}} {
		_ = w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}) // a buffer takes everything
		_, _ = w.Write(f.data)
	}
	_, _ = w.Close(), z.Close()
	return out.Bytes()
}

// documentOf is what npm PUTs to publish a tarball.
func documentOf(name, version string, tarball []byte) []byte {
	sum := sha512.Sum512(tarball)
	doc, err := json.Marshal(map[string]any{"_id": name, "name": name, "dist-tags": map[string]any{"latest": version},
		"versions":     map[string]any{version: map[string]any{"name": name, "version": version, "dist": map[string]any{"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}}},
		"_attachments": map[string]any{name + "-" + version + ".tgz": map[string]any{"content_type": "application/octet-stream", "data": tarball, "length": len(tarball)}}})
	if err != nil {
		panic(err) // strings and bytes only
	}
	return doc
}

// publishWay is one way of publishing one version of one file.
type publishWay struct {
	name, to, from string
	body, file     func(seed int) []byte
}

// publishWays are small and large writes: the small ones wait for each other, the
// large ones meet in the catalog.
func publishWays() []publishWay {
	var out []publishWay
	for _, size := range []int{2 << 10, 3 << 19} {
		tarball := func(seed int) []byte { return tarballOf("mine", "1.0.0", noise(seed, size)) }
		out = append(out,
			publishWay{fmt.Sprintf("npm %d", size), "/npm/main/mine", "/npm/main/mine/-/mine-1.0.0.tgz",
				func(seed int) []byte { return documentOf("mine", "1.0.0", tarball(seed)) }, tarball},
			publishWay{fmt.Sprintf("generic %d", size), "/generic/main/my/mine/1.0.0/file.bin", "/generic/main/my/mine/1.0.0/file.bin",
				func(seed int) []byte { return noise(seed, size) }, func(seed int) []byte { return noise(seed, size) }})
	}
	return out
}

// together publishes at the same moment, by several clients.
func (w *world) together(to string, bodies [][]byte) []answer {
	out := make([]answer, len(bodies))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, b := range bodies {
		wg.Go(func() {
			<-start
			out[i] = w.put(to, b)
		})
	}
	close(start)
	wg.Wait()
	return out
}

// TestPublishRace: of clients that publish one version with different bytes at
// the same moment exactly one wins, whole; with the same bytes all do.
func TestPublishRace(t *testing.T) {
	for _, way := range publishWays() {
		for _, n := range []int{2, 20} {
			t.Run(fmt.Sprintf("%s by %d", way.name, n), func(t *testing.T) {
				w, _ := newWorldWith(t, "npm", withRobot, registry())
				var bodies [][]byte
				for i := range n {
					bodies = append(bodies, way.body(i))
				}
				winner := -1
				for i, a := range w.together(way.to, bodies) {
					switch {
					case a.err != nil:
						t.Errorf("client %d: %v", i, a.err)
					case a.status/100 == 2 && winner < 0:
						winner = i
					case a.status/100 == 2:
						t.Errorf("clients %d and %d both published", winner, i)
					case a.status != http.StatusConflict:
						t.Errorf("client %d got %d %.200s, want 409", i, a.status, a.body)
					}
				}
				if winner < 0 {
					t.Fatal("nobody published")
				}
				if a := w.want(w.get(way.from), 200); a.body != string(way.file(winner)) {
					t.Error("not the winner's bytes")
				}
				w.checkHolds(way.file(winner))
			})
			t.Run(fmt.Sprintf("%s by %d alike", way.name, n), func(t *testing.T) {
				w, _ := newWorldWith(t, "npm", withRobot, registry())
				bodies := make([][]byte, n)
				for i := range bodies {
					bodies[i] = way.body(1)
				}
				for i, a := range w.together(way.to, bodies) {
					if a.err != nil || a.status/100 != 2 {
						t.Errorf("client %d got %d (%v) %.200s", i, a.status, a.err, a.body)
					}
				}
				if a := w.want(w.get(way.from), 200); a.body != string(way.file(1)) {
					t.Error("other bytes")
				}
				w.checkHolds(way.file(1))
			})
		}
	}
}

// checkHolds checks that the store is sound and holds these files and no other.
func (w *world) checkHolds(files ...[]byte) {
	w.t.Helper()
	rep, err := w.store.Check(context.Background(), nil)
	if err != nil || !rep.OK() {
		w.t.Errorf("check: %v %+v", err, rep.Problems)
	}
	if n := int(w.store.Stats().Blobs); n != len(files) {
		w.t.Errorf("the store holds %d blobs, want %d", n, len(files))
	}
	for _, f := range files {
		if !w.store.HasBlob(sha256.Sum256(f)) {
			w.t.Errorf("a file of %d bytes is not in the store", len(f))
		}
	}
}

// TestPublishWhileListing: who reads a document while versions are published
// sees the old or the new one: all versions that were acknowledged before it
// asked, and never an error.
func TestPublishWhileListing(t *testing.T) {
	for _, f := range []struct {
		name, list string
		put        func(w *world, i int) answer
		versions   func(body string) (n int, err error) // 0 to n-1 are there, and no other
	}{
		{"npm", "/npm/main/mine", func(w *world, i int) answer {
			v := fmt.Sprintf("1.%d.0", i)
			return w.put("/npm/main/mine", documentOf("mine", v, tarballOf("mine", v, noise(i, 100))))
		}, npmVersions},
		{"generic", "/generic/main/my/mine/", func(w *world, i int) answer {
			return w.put(fmt.Sprintf("/generic/main/my/mine/1.%d.0/file.bin", i), noise(i, 100))
		}, genericVersions},
	} {
		t.Run(f.name, func(t *testing.T) {
			w, _ := newWorldWith(t, "npm", withRobot, registry())
			w.want(f.put(w, 0), http.StatusCreated)
			var done atomic.Int64 // the last acknowledged version
			var over atomic.Bool
			var readers sync.WaitGroup
			for range 3 {
				readers.Go(func() {
					for !over.Load() {
						last := int(done.Load())
						a := w.get(f.list)
						if a.err != nil || a.status != http.StatusOK {
							t.Errorf("got %d (%v) %.200s", a.status, a.err, a.body)
							return
						}
						if n, err := f.versions(a.body); err != nil || n <= last {
							t.Errorf("%d versions after version %d was acknowledged: %v", n, last, err)
							return
						}
					}
				})
			}
			for i := 1; i < 60; i++ {
				if a := f.put(w, i); a.status != http.StatusCreated {
					t.Errorf("version %d: %d (%v) %.200s", i, a.status, a.err, a.body)
				}
				done.Store(int64(i))
			}
			over.Store(true)
			readers.Wait()
		})
	}
}

// npmVersions counts the versions of a document, in which the last one published
// must be tagged.
func npmVersions(body string) (int, error) {
	var doc struct {
		Tags     map[string]string         `json:"dist-tags"`
		Versions map[string]map[string]any `json:"versions"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		return 0, err
	}
	n := len(doc.Versions)
	for i := range n {
		if doc.Versions[fmt.Sprintf("1.%d.0", i)] == nil {
			return n, fmt.Errorf("of %d versions number %d is missing", n, i)
		}
	}
	if want := fmt.Sprintf("1.%d.0", n-1); doc.Tags["latest"] != want {
		return n, fmt.Errorf("latest is %s where %s is the last version", doc.Tags["latest"], want)
	}
	return n, nil
}

func genericVersions(body string) (int, error) {
	var doc struct {
		Versions []struct {
			Version string
			Assets  []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		return 0, err
	}
	for i, v := range doc.Versions {
		if v.Version != fmt.Sprintf("1.%d.0", i) || len(v.Assets) != 1 {
			return len(doc.Versions), fmt.Errorf("number %d is %s with %d assets", i, v.Version, len(v.Assets))
		}
	}
	return len(doc.Versions), nil
}

// TestPublishToFullDisk: there is a clear answer, nothing is kept, reading goes
// on, and with room the same upload succeeds.
func TestPublishToFullDisk(t *testing.T) {
	for _, way := range publishWays() {
		t.Run(way.name, func(t *testing.T) {
			w, _ := newWorldWith(t, "npm", withRobot, registry())
			w.want(w.put("/generic/main/my/other/1.0.0/file.bin", noise(9, 5000)), http.StatusCreated)
			w.free.Store(0)
			w.clock.add(time.Minute)
			a := w.want(w.put(way.to, way.body(1)), http.StatusInsufficientStorage, "store is full")
			if a.header.Get("X-Request-Id") == "" {
				t.Error("a refusal without a request id")
			}
			w.want(w.get(way.from), http.StatusNotFound)
			w.checkHolds(noise(9, 5000))
			if a := w.want(w.get("/generic/main/my/other/1.0.0/file.bin"), 200); a.body != string(noise(9, 5000)) {
				t.Error("other bytes")
			}
			w.free.Store(1 << 40)
			w.clock.add(time.Minute)
			deadline := time.Now().Add(20 * time.Second)
			for a = w.put(way.to, way.body(1)); a.status == http.StatusInsufficientStorage; a = w.put(way.to, way.body(1)) {
				if time.Now().After(deadline) {
					t.Fatal("the node never took uploads again")
				}
				w.clock.add(time.Minute)
			}
			w.want(a, http.StatusCreated)
			w.checkHolds(noise(9, 5000), way.file(1))
		})
	}
}

// TestPublishOverLimit: limits.artifact_max is answered with 413, with and without
// a length sent beforehand, and nothing is kept.
func TestPublishOverLimit(t *testing.T) {
	for _, way := range publishWays()[2:] {
		t.Run(way.name, func(t *testing.T) {
			w, _ := newWorldWith(t, "npm", func(w *world) {
				withRobot(w)
				w.limits = func(l *proxy.Limits) { l.ArtifactMax = 1 << 20 }
			}, registry())
			w.want(w.put(way.to, way.body(1)), http.StatusRequestEntityTooLarge, "artifact_max")
			chunked := struct{ *bytes.Reader }{bytes.NewReader(way.body(1))}
			w.want(w.send(http.MethodPut, way.to, chunked, "Authorization", "Bearer "+robotSecret), http.StatusRequestEntityTooLarge, "artifact_max")
			w.want(w.get(way.from), http.StatusNotFound)
			w.checkHolds()
		})
	}
}
