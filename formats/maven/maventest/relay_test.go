package maventest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/maven"
	"larder/formats/maven/maventest"
)

// relay answers every request by the format alone, without a cache: route,
// locate, fetch, verify, render. What real clients accept from it they accept
// from the proxy.
type relay struct {
	f    *maven.Format
	conn formats.Connection
	reg  *maventest.Registry
	base string
}

func (r *relay) Document(_ context.Context, t formats.Target) ([]byte, error) {
	body, ok := r.reg.File(t.Doc)
	if !ok {
		return nil, formats.ErrNoDocument
	}
	return body, nil
}

func (r *relay) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	rq := formattest.NewRequest(hr.Method, r.base, strings.TrimPrefix(hr.URL.EscapedPath(), "/"), hr.Header)
	body, h, err := r.answer(hr.Context(), rq)
	if err != nil {
		reply := r.f.Refuse(rq, formats.AsRefusal(err))
		for k, v := range reply.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(reply.Status)
		_, _ = w.Write(reply.Body)
		return
	}
	for k, v := range h {
		w.Header()[k] = v
	}
	_, _ = w.Write(body)
}

func (r *relay) answer(ctx context.Context, rq *formats.Request) ([]byte, http.Header, error) {
	t, err := r.f.Route(rq)
	if err != nil {
		return nil, nil, err
	}
	fetch, err := r.f.Locate(ctx, r.conn, t, nil, r)
	if err != nil {
		return nil, nil, err
	}
	path := strings.TrimPrefix(fetch.URL, r.conn.URL)
	body, ok := r.reg.File(path)
	if !ok {
		return nil, nil, formats.Refuse(formats.NotFound, "no %s upstream", path)
	}
	switch t.Kind {
	case formats.KindDocument:
		return body, http.Header{"Content-Type": {t.ContentType}}, nil
	case formats.KindListing:
		return r.listing(t, body)
	}
	asset := t
	if t.Derive != nil {
		asset = *t.Derive
	}
	held, err := r.verify(ctx, asset, body)
	if err != nil {
		return nil, nil, err
	}
	if t.Kind == formats.KindSidecar {
		reply, err := r.f.Derive(t, held, reader{bytes.NewReader(body)})
		if err != nil {
			return nil, nil, err
		}
		return reply.Body, reply.Header, nil
	}
	h := r.f.AssetHeader(t, held)
	h.Set("Content-Type", t.ContentType)
	return body, h, nil
}

type reader struct{ *bytes.Reader }

func (r reader) Size() int64 { return r.Reader.Size() }

func (r *relay) verify(ctx context.Context, t formats.Target, body []byte) (formats.HeldAsset, error) {
	sum := sha256.Sum256(body)
	held := formats.HeldAsset{File: t.File, Digests: []formats.Digest{{Alg: formats.SHA256, Hex: hex.EncodeToString(sum[:])}}}
	for _, alg := range r.f.Algs() {
		h := alg.New()
		h.Write(body)
		held.Digests = append(held.Digests, formats.Digest{Alg: alg, Hex: hex.EncodeToString(h.Sum(nil))})
	}
	want, err := r.f.Expect(ctx, r.conn, t, nil, http.Header{}, r)
	if err != nil {
		return held, err
	}
	if len(want.Digests) == 0 {
		return held, errors.New("nothing to verify against")
	}
	if was, is, bad := formats.Disagree(want.Digests, held.Digests); bad {
		return held, formats.Refuse(formats.Upstream, "%s is %s, want %s", t.File, is, was)
	}
	return held, r.f.Check(ctx, t, reader{bytes.NewReader(body)}, want)
}

func (r *relay) listing(t formats.Target, body []byte) ([]byte, http.Header, error) {
	v := &formats.View{Name: t.Name, Base: r.base}
	head, err := r.f.Parse(t, formats.Source{Connection: r.conn}, bytes.NewReader(body), func(row *formats.Version) error {
		v.Versions = append(v.Versions, row)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	v.Layers = []formats.Layer{{Place: r.conn.Name, Head: head}}
	var b bytes.Buffer
	h, err := r.f.Render(&b, v, t)
	return b.Bytes(), h, err
}

func newRelay(t *testing.T) (*maventest.Registry, string) {
	t.Helper()
	reg := maventest.New()
	r := &relay{f: maven.New(), reg: reg, conn: formats.Connection{Name: "public:maven-central", URL: "https://registry.example/"}}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.base = srv.URL
	return reg, srv.URL + "/"
}

func TestRealMavenAcceptsWhatTheFormatServes(t *testing.T) {
	reg, url := newRelay(t)
	p := maventest.NewProject(t, url)
	if out, err := p.Maven(t); err != nil {
		t.Fatalf("mvn: %v\n%s", err, out)
	}
	p.Installed(t, reg)

	// A range needs the artifact's metadata, with the checksum policy "fail".
	ranged := maventest.NewRangedProject(t, url)
	if out, err := ranged.Maven(t); err != nil {
		t.Fatalf("mvn, range: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(ranged.Repo, "com/example/larder/alpha/2.0-beta-1/alpha-2.0-beta-1.jar")); err != nil {
		t.Errorf("the range [1.0,2.0) did not lead to alpha 2.0-beta-1, which Maven orders before 2.0: %v", err)
	}

	// Changed bytes must not reach the client.
	const jar = "com/example/larder/beta/1.0/beta-1.0.jar"
	good, _ := reg.File(jar + ".sha1")
	reg.Mutate(jar, []byte("PK evil"))
	reg.Put(jar+".sha1", good, maventest.Epoch)
	evil := maventest.NewProject(t, url)
	if out, err := evil.Maven(t); err == nil || !strings.Contains(out, "beta-1.0.jar") && !strings.Contains(out, "beta:jar:1.0") {
		t.Errorf("mvn accepted changed bytes: %v\n%s", err, out)
	}
}

func TestRealGradleAcceptsWhatTheFormatServes(t *testing.T) {
	_, url := newRelay(t)
	p := maventest.NewProject(t, url)
	out, err := p.Gradle(t)
	if err != nil {
		t.Fatalf("gradle: %v\n%s", err, out)
	}
	files, err := os.ReadDir(filepath.Join(p.Dir, "lib"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	want := []string{"Delta.Core-1.0+build.5.jar", "alpha-1.1.jar", "beta-1.0.jar", "gamma_2.12_1.0-0.3.jar", "modular-1.0.jar", "natives-1.0-linux-x86_64.jar", "snap-1.0-SNAPSHOT.jar"}
	if !slices.Equal(names, want) {
		t.Errorf("copied %q, want %q\n%s", names, want, out)
	}
}
