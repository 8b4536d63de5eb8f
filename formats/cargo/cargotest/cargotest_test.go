package cargotest_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"larder/formats/cargo/cargotest"
)

// run starts cargo in an empty home with crates-io replaced by index.
func run(t *testing.T, dir, index string, files map[string]string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("SKIPPED: no cargo on this machine; the registry was not tried with it")
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	config := "[source.crates-io]\nreplace-with = \"fake\"\n[source.fake]\nregistry = \"sparse+" + index + "\"\n[registries.fake]\nindex = \"sparse+" + index + "\"\n"
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "home", "config.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cargo", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CARGO_HOME="+filepath.Join(dir, "home"), "CARGO_TARGET_DIR="+filepath.Join(dir, "target"),
		"CARGO_NET_RETRY=0", "CARGO_TERM_COLOR=never", "RUSTUP_AUTO_INSTALL=0")
	if home := os.Getenv("RUSTUP_HOME"); home == "" {
		if h, err := os.UserHomeDir(); err == nil {
			cmd.Env = append(cmd.Env, "RUSTUP_HOME="+filepath.Join(h, ".rustup"))
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var project = map[string]string{
	"Cargo.toml":  "[package]\nname = \"x\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[dependencies]\n" + cargotest.App + " = \"1\"\n",
	"src/main.rs": "fn main() { println!(\"{}\", app_lib::report()); }\n",
}

func TestRealCargo(t *testing.T) {
	for _, template := range []string{"/files/{lowerprefix}/{crate}/{crate}-{version}.crate", "/dl", "/by/{prefix}/{sha256-checksum}.crate"} {
		t.Run(template, func(t *testing.T) {
			r := cargotest.New()
			r.Template(template)
			server := httptest.NewServer(r)
			defer server.Close()
			dir := t.TempDir()
			if out, err := run(t, dir, server.URL+cargotest.IndexPath, project, "fetch"); err != nil {
				t.Fatalf("cargo fetch: %v\n%s", err, out)
			}
			if template != "/dl" {
				return // building once is enough
			}
			out, err := run(t, dir, server.URL+cargotest.IndexPath, nil, "run", "-q", "--offline")
			if err != nil || strings.TrimSpace(out) != cargotest.AppOutput {
				t.Errorf("cargo run: %v\n%s\nwant %s", err, out, cargotest.AppOutput)
			}
		})
	}
}

func TestRealCargoRefusesPoison(t *testing.T) {
	r := cargotest.New()
	server := httptest.NewServer(r)
	defer server.Close()
	r.Mutate(cargotest.One, "1.0.0", r.Archive(cargotest.Two, "1.0.0"))
	out, err := run(t, t.TempDir(), server.URL+cargotest.IndexPath, project, "fetch")
	if err == nil || !strings.Contains(out, "checksum") {
		t.Errorf("cargo fetch of a poisoned crate: %v\n%s", err, out)
	}
}

func TestValidatorsAndRanges(t *testing.T) {
	r := cargotest.New()
	get := func(path, header, value string) *httptest.ResponseRecorder {
		rq := httptest.NewRequest(http.MethodGet, path, nil)
		if header != "" {
			rq.Header.Set(header, value)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, rq)
		return w
	}
	const index, file = "/index/ti/ny/tiny-core", "/files/ti/ny/tiny-core/tiny-core-1.0.0.crate"
	for _, path := range []string{index, file} {
		whole := get(path, "", "")
		if whole.Code != 200 || whole.Header().Get("ETag") == "" || whole.Header().Get("Last-Modified") == "" {
			t.Fatalf("%s: %d %v", path, whole.Code, whole.Header())
		}
		if w := get(path, "If-None-Match", whole.Header().Get("ETag")); w.Code != http.StatusNotModified {
			t.Errorf("%s: If-None-Match: %d", path, w.Code)
		}
		if w := get(path, "Range", "bytes=2-5"); w.Code != http.StatusPartialContent || w.Body.String() != whole.Body.String()[2:6] {
			t.Errorf("%s: Range: %d %q", path, w.Code, w.Body)
		}
	}
	before := get(index, "", "").Header().Get("ETag")
	r.Yank(cargotest.Core, "1.0.0", true)
	if after := get(index, "", "").Header().Get("ETag"); after == before {
		t.Error("a yank left the index's ETag as it was")
	}
	for _, path := range []string{"/index/Ti/ny/Tiny-core", "/index/ti/ny/nothing", "/index/xx/xx/tiny-core", "/files/x"} {
		if w := get(path, "", ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

func TestImmutability(t *testing.T) {
	r := cargotest.New()
	c := cargotest.Crate{Name: "x", Version: "1.0.0", Lib: "//"}
	r.Add(c)
	r.Add(c) // the same bytes again
	defer func() {
		if recover() == nil {
			t.Error("other bytes under a version did not panic")
		}
	}()
	c.Lib = "// changed"
	r.Add(c)
}
