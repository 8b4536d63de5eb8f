package golangtest_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"larder/formats/golang/golangtest"
)

// run starts go in an empty world with its cache beneath dir.
func run(t *testing.T, dir, proxy, sumdb string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: no go command on this machine; the registry was not tried with it")
	}
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	gomod := filepath.Join(work, "go.mod")
	if _, err := os.Stat(gomod); err != nil {
		if err := os.WriteFile(gomod, []byte("module x.example/x\n\ngo 1.21\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "GOPROXY="+proxy, "GOSUMDB="+sumdb, "GOMODCACHE="+filepath.Join(dir, "mod"), "GOPATH="+filepath.Join(dir, "path"),
		"GOENV=off", "GOWORK=off", "GOFLAGS=-mod=mod -modcacherw", "GONOSUMDB=", "GOPRIVATE=", "GONOPROXY=", "GOTOOLCHAIN=local")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const want = "v0.3.1 on v1.2.0 v2.0.0 after v1.5.0 v2.1.0 v1.2.0 " + golangtest.PseudoVersion

func TestRealGo(t *testing.T) {
	for _, tc := range []struct {
		name   string
		relay  bool
		direct bool
	}{
		{"database through the proxy", true, false},
		{"database at its own address", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := golangtest.New()
			r.Relay(tc.relay)
			server := httptest.NewServer(r)
			defer server.Close()
			db := httptest.NewServer(r.SumDB())
			defer db.Close()
			sumdb := r.SumDBKey()
			if tc.direct {
				sumdb += " " + db.URL
			}
			dir := t.TempDir()
			if out, err := run(t, dir, server.URL, sumdb, "get", golangtest.App+"@latest", golangtest.Pseudo+"@main"); err != nil {
				t.Fatalf("go get: %v\n%s", err, out)
			}
			out, err := run(t, dir, server.URL, sumdb, "run", golangtest.App)
			if err != nil || strings.TrimSpace(out) != want {
				t.Errorf("go run: %v\n%s\nwant %s", err, out, want)
			}
			out, err = run(t, dir, server.URL, sumdb, "list", "-m", "-retracted", "-versions", golangtest.Plain)
			if err != nil || strings.TrimSpace(out) != golangtest.Plain+" v1.0.0 v1.1.0 v1.2.0 v1.3.0-rc.1" {
				t.Errorf("go list -versions: %v\n%s", err, out)
			}
		})
	}
}

func TestRealGoRefusesPoison(t *testing.T) {
	r := golangtest.New()
	server := httptest.NewServer(r)
	defer server.Close()
	r.Mutate(golangtest.Major, "v1.5.0", "zip", r.File(golangtest.Plain, "v1.0.0", "zip"))
	out, err := run(t, t.TempDir(), server.URL, r.SumDBKey(), "mod", "download", golangtest.Major+"@v1.5.0")
	if err == nil {
		t.Errorf("go took poisoned bytes:\n%s", out)
	}
}

func TestValidatorsAndRanges(t *testing.T) {
	r := golangtest.New()
	get := func(header, value string) *httptest.ResponseRecorder {
		rq := httptest.NewRequest(http.MethodGet, "/registry.example/plain/@v/v1.0.0.zip", nil)
		if header != "" {
			rq.Header.Set(header, value)
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, rq)
		return w
	}
	whole := get("", "")
	if whole.Code != 200 || whole.Header().Get("ETag") == "" || whole.Header().Get("Last-Modified") == "" {
		t.Fatalf("GET: %d %v", whole.Code, whole.Header())
	}
	if w := get("If-None-Match", whole.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("If-None-Match: %d", w.Code)
	}
	if w := get("Range", "bytes=2-5"); w.Code != http.StatusPartialContent || w.Body.String() != whole.Body.String()[2:6] {
		t.Errorf("Range: %d %q", w.Code, w.Body)
	}
}

func TestImmutability(t *testing.T) {
	r := golangtest.New()
	files := map[string]string{"go.mod": "module a.example/b\n", "b.go": "package b\n"}
	r.Add("a.example/b", "v1.0.0", time.Unix(0, 0), files)
	r.Add("a.example/b", "v1.0.0", time.Unix(0, 0), files) // the same bytes again
	defer func() {
		if recover() == nil {
			t.Error("other bytes under a version did not panic")
		}
	}()
	files["b.go"] = "package b // changed\n"
	r.Add("a.example/b", "v1.0.0", time.Unix(0, 0), files)
}
