package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// killPublished is what clients have published to a node that is killed again
// and again.
type killPublished struct {
	token string

	mu    sync.Mutex
	files map[string]*publishedFile // by path below a node; guarded by mu
}

type publishedFile struct {
	seed  int
	acked bool
}

// publishers is how many clients publish beside those that read.
const publishers = 3

func newKillPublished(t *testing.T, dir string) *killPublished {
	t.Helper()
	cmd := exec.Command("larder", "credential", "create", "--data", filepath.Join(dir, "data"), "--user", "robot", "--policy", "publish", "--token")
	out, err := cmd.CombinedOutput()
	_, token, ok := strings.Cut(string(out), "token: ")
	if err != nil || !ok {
		t.Fatalf("larder credential create: %v\n%s", err, out)
	}
	return &killPublished{token: strings.TrimSpace(token), files: map[string]*publishedFile{}}
}

// npmTarball is a package whose bytes follow from its coordinate.
func npmTarball(name, version string, seed int) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for file, data := range map[string][]byte{"package/package.json": fmt.Appendf(nil, `{"name":%q,"version":%q}`, name, version)} {
		_ = w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(data))}) // a buffer takes everything
		_, _ = w.Write(data)
	}
	data := numbered(seed)
	_ = w.WriteHeader(&tar.Header{Name: "package/data", Mode: 0o644, Size: int64(len(data))})
	_, _ = w.Write(data)
	_ = w.Close()
	_ = z.Close()
	return out.Bytes()
}

func npmDocument(name, version string, tarball []byte) []byte {
	sum, old := sha512.Sum512(tarball), sha1.Sum(tarball)
	doc, err := json.Marshal(map[string]any{"_id": name, "name": name, "dist-tags": map[string]any{"latest": version},
		"versions": map[string]any{version: map[string]any{"name": name, "version": version,
			"dist": map[string]any{"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]), "shasum": hex.EncodeToString(old[:])}}},
		"_attachments": map[string]any{name + "-" + version + ".tgz": map[string]any{"content_type": "application/octet-stream", "data": tarball, "length": len(tarball)}}})
	if err != nil {
		panic(err) // strings and bytes only
	}
	return doc
}

// publish publishes until the node dies: client 0 versions of one npm package,
// the others versions of two generic assets.
func (p *killPublished) publish(ctx context.Context, base string, round, client int) {
	for i := 0; ctx.Err() == nil; i++ {
		seed := (round*publishers+client)*10_000 + i
		if client == 0 {
			version := fmt.Sprintf("%d.%d.0", round, i)
			path := "/npm/main/killed/-/killed-" + version + ".tgz"
			body := npmDocument("killed", version, npmTarball("killed", version, seed))
			if !p.put(ctx, base, "/npm/main/killed", path, seed, body) {
				return
			}
			continue
		}
		version := fmt.Sprintf("/generic/main/kill/c%d/%d.%d/", client, round, i)
		if !p.put(ctx, base, version+firstAsset+"?unfinished=true", version+firstAsset, seed, numbered(seed)) ||
			!p.put(ctx, base, version+lastAsset, version+lastAsset, seed+5_000, numbered(seed+5_000)) {
			return
		}
	}
}

// Assets of a generic version: it is not shown before the last came.
const (
	firstAsset = "first.bin"
	lastAsset  = "last.bin"
)

// put sends a file and notes whether it was acknowledged. It returns false when
// there was no answer.
func (p *killPublished) put(ctx context.Context, base, to, path string, seed int, body []byte) bool {
	f := &publishedFile{seed: seed}
	p.mu.Lock()
	p.files[path] = f
	p.mu.Unlock()
	status, _ := p.send(ctx, base+to, body)
	p.mu.Lock()
	f.acked = status/100 == 2
	p.mu.Unlock()
	return status != 0
}

// finish completes the versions whose first asset came alone, so that it can be
// seen whether it was kept.
func (p *killPublished) finish(t *testing.T, base string) {
	t.Helper()
	var open []string
	for path, f := range p.files {
		version, ok := strings.CutSuffix(path, firstAsset)
		if last := p.files[version+lastAsset]; ok && f.acked && (last == nil || !last.acked) {
			open = append(open, version)
		}
	}
	for _, version := range open {
		first := p.files[version+firstAsset]
		path, seed := version+lastAsset, first.seed+5_000
		if status, answer := p.send(context.Background(), base+path, numbered(seed)); status/100 != 2 {
			t.Errorf("%s could not be completed: %d %s", version, status, answer)
		}
		p.files[path] = &publishedFile{seed: seed, acked: true}
	}
}

func (p *killPublished) send(ctx context.Context, url string, body []byte) (status int, answer string) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	rq.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func (p *killPublished) bytes(path string, f *publishedFile) []byte {
	if v, ok := strings.CutPrefix(path, "/npm/main/killed/-/killed-"); ok {
		return npmTarball("killed", strings.TrimSuffix(v, ".tgz"), f.seed)
	}
	return numbered(f.seed)
}

// compare asks for everything that was ever sent: acknowledged it must be there
// byte for byte, otherwise so or not at all. A listing shows exactly what is
// there, and other bytes are refused.
func (p *killPublished) compare(t *testing.T, base string) {
	t.Helper()
	p.finish(t, base)
	acked, whole := 0, 0
	document, err := get(context.Background(), base+"/npm/main/killed")
	if err != nil {
		t.Errorf("the document of what was published: %v", err)
	}
	for path, f := range p.files {
		body, err := get(context.Background(), base+path)
		there := err == nil
		switch {
		case there && !bytes.Equal(body, p.bytes(path, f)):
			t.Errorf("%s was published and changed (%d bytes)", path, len(body))
		case !there && f.acked:
			t.Errorf("%s (%d bytes) was acknowledged and is lost: %v", path, len(p.bytes(path, f)), err)
		case !there && !errors.Is(err, errAbsent404):
			t.Errorf("%s is neither whole nor absent: %v", path, err)
		case f.acked:
			acked++
		case there:
			whole++
		}
		if v, ok := strings.CutPrefix(path, "/npm/main/killed/-/killed-"); ok && strings.Contains(string(document), `"`+strings.TrimSuffix(v, ".tgz")+`":{`) != there {
			t.Errorf("%s: fetched %v, listed %v", path, there, !there)
		}
	}
	for path, f := range p.files {
		if !f.acked {
			continue
		}
		to, body := path, binaryOf(rand.New(rand.NewPCG(1, 2)), 100)
		if v, ok := strings.CutPrefix(path, "/npm/main/killed/-/killed-"); ok {
			v = strings.TrimSuffix(v, ".tgz")
			to, body = "/npm/main/killed", npmDocument("killed", v, npmTarball("killed", v, f.seed+1))
		}
		if status, answer := p.send(context.Background(), base+to, body); status != http.StatusConflict && status != http.StatusForbidden {
			t.Errorf("%s: other bytes were answered %d %.200s", path, status, answer)
		}
		if got, err := get(context.Background(), base+path); err != nil || !bytes.Equal(got, p.bytes(path, f)) {
			t.Errorf("%s changed when other bytes were offered: %v", path, err)
		}
	}
	if acked == 0 {
		t.Error("nothing that was published was acknowledged: publishing was not tested")
	}
	t.Logf("%d files published and acknowledged over all rounds, %d there without, %d neither", acked, whole, len(p.files)-acked-whole)
}
