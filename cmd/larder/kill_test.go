package main

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats/cargo/cargotest"
	"larder/formats/formattest"
	"larder/formats/golang/golangtest"
	"larder/formats/maven/maventest"
	"larder/formats/pypi/pypitest"
)

// TestKill kills a node with SIGKILL at random moments under load, round after
// round over one store. After each round the store must check; at the end every
// file that a client ever received whole must still be there, byte for byte,
// with the upstream switched off: a client that has a file has it only because
// the commit was durable before its last block was sent. What clients publish is
// held to the same: acknowledged it stays, otherwise it is whole or absent.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("the kill test does not run with -short")
	}
	rounds := 10
	if v := os.Getenv("LARDER_KILL_ROUNDS"); v != "" {
		rounds = atoi(t, v)
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("LARDER_KILL_SEED"); v != "" {
		seed = uint64(atoi(t, v))
	}
	t.Logf("%d rounds, LARDER_KILL_SEED=%d", rounds, seed)
	k := newKillTest(t)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for round := range rounds {
		life := time.Duration(rnd.IntN(700)) * time.Millisecond
		if round%hugeEvery == 0 {
			life += time.Duration(rnd.IntN(1500)) * time.Millisecond
		}
		k.round(round, life)
		k.check(fmt.Sprintf("after round %d", round+1))
	}
	k.compare()
}

// killTest is one store, its upstream, and what clients have received of it.
type killTest struct {
	t        *testing.T
	dir      string
	upstream *formattest.Upstream
	stop     []*formattest.Upstream // the other formats'

	published *killPublished
	others    map[string][]byte // files of the other formats' registries, by path below a node

	mu    sync.Mutex
	whole map[int]bool    // files received whole, by number; guarded by mu
	kept  map[string]bool // likewise of the others, by path; guarded by mu
}

// Every hugeEvery-th round one client asks for a file of two segments.
const (
	hugeEvery  = 20
	hugeNumber = 900
	hugeSize   = 66 << 20
)

func newKillTest(t *testing.T) *killTest {
	k := &killTest{t: t, dir: t.TempDir(), whole: map[int]bool{}, kept: map[string]bool{}, others: map[string][]byte{}}
	k.upstream = formattest.Serve(t, http.HandlerFunc(serveNumbered))
	config := fmt.Sprintf("[log]\naccess = \"off\"\n[[connection]]\nname = \"public:npm\"\nformat = \"npm\"\nurl = \"%s/\"\n"+
		"[[repository]]\nname = \"npm-store\"\nconnection = \"public:npm\"\n", k.upstream.URL)
	stores := `"npm-store"`
	pypi, maven, golang, cargo := pypitest.New(), maventest.New(), golangtest.New(), cargotest.New()
	for _, o := range []struct {
		format, base string
		handler      http.Handler
	}{{"pypi", "/simple/", pypi}, {"maven", "/", maven}, {"go", "/", golang}, {"cargo", cargotest.IndexPath, cargo}} {
		up := formattest.Serve(t, o.handler)
		k.stop = append(k.stop, up)
		config += fmt.Sprintf("[[connection]]\nname = \"public:%s\"\nformat = %[1]q\nurl = \"%s%s\"\n[[repository]]\nname = \"%[1]s-store\"\nconnection = \"public:%[1]s\"\n", o.format, up.URL, o.base)
		stores += fmt.Sprintf(", %q", o.format+"-store")
	}
	config += "[[repository]]\nname = \"main\"\nupstreams = [" + stores + "]\n"
	grape := pypi.Files("larder-grape")[0]
	jar := maventest.Dir(maventest.Group, "natives", "1.0") + "natives-1.0.jar"
	k.others["/pypi/main/simple/larder-grape/1.0/"+grape] = pypi.File(grape)
	k.others["/maven/main/"+jar], _ = maven.File(jar)
	k.others["/go/main/"+golangtest.Plain+"/@v/v1.2.0.zip"] = golang.File(golangtest.Plain, "v1.2.0", "zip")
	k.others["/go/main/"+golangtest.Plain+"/@v/v1.2.0.mod"] = golang.File(golangtest.Plain, "v1.2.0", "mod")
	k.others["/cargo/main/api/v1/crates/tiny-core/1.2.0/download"] = cargo.Archive("tiny-core", "1.2.0")
	if err := os.WriteFile(filepath.Join(k.dir, "larder.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	k.published = newKillPublished(t, k.dir)
	return k
}

// numbered is the n-th file: deterministic, mostly small, some of several
// segments.
func numbered(n int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	size := 1 + rnd.IntN(20<<10)
	if n%1000 == hugeNumber {
		return binaryOf(rnd, hugeSize)
	}
	switch n % 8 {
	case 0:
		size = 256<<10 + rnd.IntN(2<<20)
	case 1:
		size = 200<<10 + rnd.IntN(100<<10) // about the border of inline blobs
	}
	return binaryOf(rnd, size)
}

func binaryOf(rnd *rand.Rand, size int) []byte {
	b := make([]byte, size+8)
	for i := 0; i < size; i += 8 {
		v := rnd.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b[:size]
}

// serveNumbered is a registry whose package kN has one version with the N-th
// file.
func serveNumbered(w http.ResponseWriter, r *http.Request) {
	name, file, isFile := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/-/")
	n, err := strconv.Atoi(strings.TrimPrefix(name, "k"))
	if err != nil || isFile && file != name+"-1.0.0.tgz" {
		http.NotFound(w, r)
		return
	}
	body := numbered(n)
	if isFile {
		http.ServeContent(w, r, file, time.Time{}, bytes.NewReader(body))
		return
	}
	sum := sha512.Sum512(body)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"name":%q,"dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":%q,"version":"1.0.0","dist":{"integrity":"sha512-%s","tarball":"http://%s/%s/-/%s-1.0.0.tgz"}}}}`,
		name, name, base64.StdEncoding.EncodeToString(sum[:]), r.Host, name, name)
}

func (k *killTest) start(args ...string) (*runningNode, string) {
	k.t.Helper()
	args = append([]string{"serve", "--config", "larder.toml", "--listen", "127.0.0.1:0", "--data", "data"}, args...)
	node, base, err := startNode(os.Environ(), k.dir, filepath.Join(k.dir, "node.log"), args)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(k.dir, "node.log"))
		k.t.Fatalf("start: %v\n%s", err, log)
	}
	return node, base
}

// round loads a node until it is killed.
func (k *killTest) round(round int, life time.Duration) {
	node, base := k.start()
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			rnd := rand.New(rand.NewPCG(uint64(round), uint64(c)))
			for ctx.Err() == nil {
				// Mostly new files of this round, some of all rounds.
				n := round*1000 + rnd.IntN(200)
				if rnd.IntN(4) == 0 {
					n = rnd.IntN(round+1)*1000 + rnd.IntN(200)
				}
				k.fetch(ctx, base, n)
			}
		}()
	}
	for c := range publishers {
		clients.Go(func() { k.published.publish(ctx, base, round, c) })
	}
	clients.Add(1)
	huge := make(chan struct{})
	go func() {
		defer clients.Done()
		if round%hugeEvery == 0 {
			k.fetch(ctx, base, round*1000+hugeNumber)
		}
		close(huge)
		for path := range k.others { // in no order
			k.fetchOther(ctx, base, path)
		}
	}()
	if round%(2*hugeEvery) == 0 {
		<-huge // every other one dies right after it is acknowledged
	}
	time.Sleep(life) // the moment of death is what the test varies
	node.kill()
	cancel()
	clients.Wait()
}

// fetch asks for a file and notes it when it came whole. An answer that ends
// early or is an error is what a killed node gives; wrong bytes never are.
func (k *killTest) fetch(ctx context.Context, base string, n int) {
	body, err := get(ctx, fmt.Sprintf("%s/npm/main/k%d/-/k%d-1.0.0.tgz", base, n, n))
	if err != nil {
		return
	}
	if !bytes.Equal(body, numbered(n)) {
		k.t.Errorf("file %d came whole with wrong bytes (%d of %d)", n, len(body), len(numbered(n)))
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.whole[n] = true
}

func (k *killTest) fetchOther(ctx context.Context, base, path string) {
	body, err := get(ctx, base+path)
	if err != nil {
		return
	}
	if !bytes.Equal(body, k.others[path]) {
		k.t.Errorf("%s came whole with wrong bytes (%d of %d)", path, len(body), len(k.others[path]))
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[path] = true
}

// errAbsent404 is a 404.
var errAbsent404 = errors.New("absent")

func get(ctx context.Context, url string) ([]byte, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, errAbsent404
	default:
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// check runs larder store check.
func (k *killTest) check(when string) {
	k.t.Helper()
	cmd := exec.Command("larder", "store", "check", "--data", filepath.Join(k.dir, "data"))
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("%s: larder store check: %v\n%s", when, err, out)
	}
}

// compare asks an offline node for everything that was ever received.
func (k *killTest) compare() {
	k.upstream.Stop()
	for _, up := range k.stop {
		up.Stop()
	}
	node, base := k.start("--offline")
	defer node.kill()
	if len(k.whole) == 0 {
		k.t.Fatal("no client received a file: nothing was tested")
	}
	lost := 0
	for n := range k.whole {
		body, err := get(context.Background(), fmt.Sprintf("%s/npm/main/k%d/-/k%d-1.0.0.tgz", base, n, n))
		if err != nil || !bytes.Equal(body, numbered(n)) {
			lost++
			k.t.Errorf("file %d (%d bytes) was received whole and is lost or changed: %v, %d bytes", n, len(numbered(n)), err, len(body))
		}
	}
	for path := range k.kept {
		if body, err := get(context.Background(), base+path); err != nil || !bytes.Equal(body, k.others[path]) {
			lost++
			k.t.Errorf("%s was received whole and is lost or changed: %v, %d bytes", path, err, len(body))
		}
	}
	k.published.compare(k.t, base)
	huge := 0
	for n := range k.whole {
		if n%1000 == hugeNumber {
			huge++
		}
	}
	k.t.Logf("%d files received whole over all rounds (%d of them of two segments) and %d of other formats, %d lost", len(k.whole), huge, len(k.kept), lost)
}
