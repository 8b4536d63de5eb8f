package pypitest

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client finds a real client. Its absence is reported loudly; .ci/run sets
// LARDER_REQUIRE_CLIENTS, which forbids such skips.
func client(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real clients are left out of short runs")
	}
	p, err := exec.LookPath(name)
	if err == nil {
		return p
	}
	if os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
		t.Fatalf("%s is not installed, and LARDER_REQUIRE_CLIENTS is set", name)
	}
	t.Skipf("SKIPPED: the real client %s is not installed; nothing was checked", name)
	return ""
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func pipEnv(t *testing.T, index string) []string {
	return []string{"PIP_INDEX_URL=" + index, "PIP_CONFIG_FILE=/dev/null", "PIP_CACHE_DIR=" + t.TempDir(),
		"PIP_FIND_LINKS=", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_EXTRA_INDEX_URL=", "PIP_NO_INPUT=1"}
}

// TestRealPipInstallsTheDefaultContent: wheels, a source distribution with its
// in-tree backend, an extra, a yanked and an unfitting version passed over.
func TestRealPipInstallsTheDefaultContent(t *testing.T) {
	pip := client(t, "pip")
	for _, html := range []bool{false, true} {
		r := New()
		r.HTMLOnly(html)
		srv := httptest.NewServer(r)
		defer srv.Close()
		target := t.TempDir()
		run(t, pipEnv(t, srv.URL+"/simple/"), pip, "install", "--target", target,
			"larder-cherry", "larder-elder", "larder-fig", "larder-honey", "larder-grape==1.0+seedless")
		for _, dir := range []string{"larder_apple-1.1", "Larder_Berry-1.0", "larder_cherry-1.0", "larder_date-1.1",
			"larder_elder-1.0", "larder_fig-1.0", "larder_grape-1.0+seedless", "larder_honey-1.0", "larder_sugar-1.0"} {
			if _, err := os.Stat(filepath.Join(target, dir+".dist-info", "METADATA")); err != nil {
				t.Errorf("html %v: %s is not installed: %v", html, dir, err)
			}
		}
		if n := r.Count("larder_cherry-1.0-py3-none-any.whl.metadata"); !html && n == 0 {
			t.Log("this pip did not read core metadata beside the wheel")
		}
	}
}

func TestFilesNeverChangeUnlessMutated(t *testing.T) {
	r := New()
	p := Package{Name: "larder-sugar", Version: "1.0"}
	r.Add(p) // the same bytes again
	defer func() {
		if recover() == nil {
			t.Error("other bytes under a published file name did not panic")
		}
	}()
	p.Summary = "salt"
	r.Add(p)
}
