package cargo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/cargo/cargotest"
)

// bridge is the smallest proxy around the format: no cache, no policy. It lets
// a real client judge routing, location, parsing and rendering.
type bridge struct{ o *outside }

func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw := strings.TrimPrefix(r.URL.EscapedPath(), "/cargo/main/")
	if r.URL.RawQuery != "" {
		raw += "?" + r.URL.RawQuery
	}
	rq := request(r.Method, "http://"+r.Host+"/cargo/main", raw)
	reply, err := b.answer(r.Context(), rq)
	if errors.Is(err, formats.ErrNoDocument) {
		err = formats.Refuse(formats.NotFound, "the registry outside does not have %s", rq.Path)
	}
	if err != nil {
		reply = b.o.docs.f.Refuse(rq, formats.AsRefusal(err))
	}
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (b *bridge) answer(ctx context.Context, rq *formats.Request) (*formats.Reply, error) {
	d := b.o.docs
	target, err := d.f.Route(rq)
	if err != nil {
		return nil, err
	}
	if target.Kind == formats.KindLocal {
		return target.Reply, nil
	}
	var asset *formats.Asset
	if target.Prime {
		if asset, err = b.prime(ctx, target); err != nil {
			return nil, err
		}
	}
	fetch, err := d.f.Locate(ctx, d.c, target, asset, d)
	if err != nil {
		return nil, err
	}
	body, header, err := d.get(ctx, fetch.URL)
	if err != nil {
		return nil, err
	}
	if target.Kind == formats.KindListing {
		view, err := viewOf(d.f, target, body, header)
		if err != nil {
			return nil, err
		}
		view.Base = rq.Base
		var out bytes.Buffer
		h, err := d.f.Render(&out, view, target)
		return &formats.Reply{Status: 200, Header: h, Body: out.Bytes()}, err
	}
	if asset != nil {
		if sum := sha256.Sum256(body); asset.Digests[0].Hex != hex.EncodeToString(sum[:]) {
			return nil, formats.Refuse(formats.Upstream, "the bytes of %s are not those of the index", asset.File)
		}
	}
	return &formats.Reply{Status: 200, Header: http.Header{"Content-Type": {target.ContentType}}, Body: body}, nil
}

// prime finds the asset's row, as the proxy does for Target.Prime.
func (b *bridge) prime(ctx context.Context, target formats.Target) (*formats.Asset, error) {
	body, err := b.o.docs.Document(ctx, index(target.Name.Canon))
	if err != nil {
		return nil, err
	}
	view, err := viewOf(b.o.docs.f, index(target.Name.Canon), body, nil)
	if err != nil {
		return nil, err
	}
	for _, v := range view.Versions {
		if a := v.Asset(target.File); v.V == target.Version && a != nil {
			return a, nil
		}
	}
	return nil, formats.Refuse(formats.NotFound, "%s has no version %s", target.Name.Show(), target.Version)
}

// cargoClient runs the real cargo in an empty home, set up by our own line.
type cargoClient struct {
	dir string
	env []string
}

func newCargoClient(t *testing.T, endpoint string) *cargoClient {
	t.Helper()
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("SKIPPED: no cargo on this machine; the real client was not tested")
	}
	c := &cargoClient{dir: t.TempDir()}
	cargoHome := filepath.Join(c.dir, "home")
	if err := os.MkdirAll(cargoHome, 0o755); err != nil {
		t.Fatal(err)
	}
	c.env = append(os.Environ(), "CARGO_HOME="+cargoHome, "CARGO_NET_RETRY=0", "CARGO_TERM_COLOR=never", "RUSTUP_AUTO_INSTALL=0")
	if os.Getenv("RUSTUP_HOME") == "" {
		if h, err := os.UserHomeDir(); err == nil {
			c.env = append(c.env, "RUSTUP_HOME="+filepath.Join(h, ".rustup"))
		}
	}
	if err := os.WriteFile(filepath.Join(cargoHome, "config.toml"), []byte("[net]\ngit-fetch-with-cli = true"), 0o644); err != nil {
		t.Fatal(err)
	}
	setup := exec.Command("sh", "-c", New().Setup(endpoint+"/"))
	setup.Env = c.env
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("setup: %v\n%s", err, out)
	}
	return c
}

func (c *cargoClient) run(t *testing.T, deps string, args ...string) (string, error) {
	t.Helper()
	for name, text := range map[string]string{
		"Cargo.toml": "[package]\nname = \"x\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\n" + deps,
		"src/lib.rs": "",
	} {
		file := filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("cargo", args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRealCargoThroughFormat(t *testing.T) {
	o := newOutside(t)
	server := httptest.NewServer(&bridge{o})
	defer server.Close()
	endpoint := server.URL + "/cargo/main"
	client := newCargoClient(t, endpoint)
	if out, err := client.run(t, cargotest.App+" = \"1\"\n", "fetch"); err != nil {
		t.Fatalf("cargo fetch: %v\n%s", err, out)
	}
	if out, err := client.run(t, cargotest.App+" = \"1\"\n", "metadata", "--offline", "--format-version", "1"); err != nil || !strings.Contains(out, cargotest.MetaVersion) {
		t.Errorf("cargo metadata: %v\n%s", err, out)
	}
	out, err := client.run(t, "", "search", "capital", "--registry", "larder")
	if err != nil || !strings.Contains(out, cargotest.Capital+" = \"0.2.0\"") {
		t.Errorf("cargo search: %v\n%s", err, out)
	}
	out, err = client.run(t, "", "info", cargotest.Capital, "--registry", "larder")
	if err != nil || !strings.Contains(out, "version: 0.2.0") {
		t.Errorf("cargo info: %v\n%s", err, out)
	}
	out, err = client.run(t, "no-such-crate = \"1\"\n", "fetch")
	if err == nil || !strings.Contains(out, "no matching package") {
		t.Errorf("an unknown crate: %v\n%s", err, out)
	}
	out, err = client.run(t, cargotest.Core+" = \"=1.1.0\"\n", "fetch")
	if err == nil || !strings.Contains(out, "yanked") {
		t.Errorf("a yanked version without a lockfile: %v\n%s", err, out)
	}
}

func TestRealCargoShowsRefusals(t *testing.T) {
	o := newOutside(t)
	server := httptest.NewServer(&bridge{o})
	defer server.Close()
	o.Mutate(cargotest.One, "1.0.0", o.Archive(cargotest.Two, "1.0.0"))
	client := newCargoClient(t, server.URL+"/cargo/main")
	out, err := client.run(t, cargotest.One+" = \"1\"\n", "fetch")
	if err == nil || !strings.Contains(out, "not those of the index") {
		t.Errorf("cargo fetch of a refused crate: %v\n%s\nwant the refusal's text", err, out)
	}
}
