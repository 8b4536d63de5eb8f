package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNoRegistryHost: the addresses of public registries are learned from the
// machine's own package managers at run time, so none stands in the project.
// The test asks the same clients, so none stands here either.
func TestNoRegistryHost(t *testing.T) {
	hosts := registryHosts(t)
	for _, f := range tracked(t) {
		text, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Errorf("read %s: %v", f, err)
			continue
		}
		for _, host := range hosts {
			if i := bytes.Index(text, []byte(host)); i >= 0 {
				t.Errorf("%s:%d names %s: learn it at run time; fixtures use registry.example", f, 1+bytes.Count(text[:i], []byte("\n")), host)
			}
		}
	}
}

// TestNoMachinePath: no file names a place of the machine that it was written
// on.
func TestNoMachinePath(t *testing.T) {
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// Not after a host's name: a URL may have any path.
	places := []*regexp.Regexp{regexp.MustCompile(`(^|[^A-Za-z0-9_.])` + regexp.QuoteMeta(checkout) + `/`)}
	if home, err := os.UserHomeDir(); err == nil && home != "/" {
		places = append(places, regexp.MustCompile(`(^|[^A-Za-z0-9_.])`+regexp.QuoteMeta(home)+`/[A-Za-z.]`))
	}
	for _, f := range tracked(t) {
		text, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			continue // TestNoRegistryHost says so
		}
		for _, place := range places {
			if at := place.FindIndex(text); at != nil && filepath.Base(f) != "go.sum" {
				t.Errorf("%s:%d names a place of this machine, %q: use relative paths or t.TempDir", f, 1+bytes.Count(text[:at[0]], []byte("\n")), text[at[0]:at[1]])
			}
		}
	}
}

// registryHosts asks each client; one that is absent is told loudly, and
// forbidden where every client must be there.
func registryHosts(t *testing.T) []string {
	t.Helper()
	var hosts []string
	for client, ask := range map[string]func() []string{
		"npm":   func() []string { return urlsIn(outputOf("npm", "config", "get", "registry")) },
		"go":    func() []string { return goHosts(outputOf("go", "env", "GOPROXY", "GOSUMDB")) },
		"pip":   pipURLs,
		"mvn":   mavenURLs,
		"cargo": cargoURLs,
	} {
		found := ask()
		switch {
		case len(found) > 0:
			hosts = append(hosts, found...)
		case os.Getenv("LARDER_E2E_REQUIRE") == "1":
			t.Errorf("%s does not say which registry it uses; LARDER_E2E_REQUIRE=1 wants every client", client)
		default:
			t.Logf("*** %s is absent or does not say which registry it uses: its host is not looked for ***", client)
		}
	}
	hosts = append(hosts, aptURLs()...)
	for i, h := range hosts {
		_, rest, ok := strings.Cut(h, "://")
		if !ok {
			rest = h
		}
		hosts[i] = rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"))]
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	// A fixture of this machine is no public registry.
	return slices.DeleteFunc(hosts, func(h string) bool {
		return !strings.Contains(h, ".") || strings.HasSuffix(h, ".example") || strings.Trim(h, "0123456789.") == ""
	})
}

func outputOf(name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Dir = os.TempDir() // no project's settings
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}

func urlsIn(text string) []string {
	return regexp.MustCompile(`https?://[A-Za-z0-9.-]+`).FindAllString(text, -1)
}

// goHosts reads the lists of GOPROXY and GOSUMDB, whose entries may lack a
// scheme.
func goHosts(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",| \n+", r) })
}

func pipURLs() []string {
	dir := strings.TrimSpace(outputOf("python3", "-c", "import os,pip;print(os.path.dirname(pip.__file__))"))
	if dir == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "_internal", "models", "index.py"))
	if err != nil {
		return nil
	}
	return urlsIn(string(text))
}

func mavenURLs() []string {
	path, err := exec.LookPath("mvn")
	if err != nil {
		return nil
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil
	}
	jars, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "..", "lib", "maven-model-builder*.jar"))
	var urls []string
	for _, jar := range jars {
		z, err := zip.OpenReader(jar)
		if err != nil {
			continue
		}
		if f, err := z.Open("org/apache/maven/model/pom-4.0.0.xml"); err == nil {
			text, _ := io.ReadAll(f)
			for _, m := range regexp.MustCompile(`<url>(https?://[^/<]+)`).FindAllSubmatch(text, -1) {
				urls = append(urls, string(m[1]))
			}
		}
		z.Close()
	}
	return urls
}

// cargoURLs looks for the default index in cargo's own program.
func cargoURLs() []string {
	path := strings.TrimSpace(outputOf("rustup", "which", "cargo"))
	if path == "" {
		var err error
		if path, err = exec.LookPath("cargo"); err != nil {
			return nil
		}
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var urls []string
	for _, m := range regexp.MustCompile(`https://[a-z.-]*crates[a-z-]*\.[a-z]{2,6}`).FindAll(program, -1) {
		urls = append(urls, string(m))
	}
	return urls
}

func aptURLs() []string {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	var urls []string
	for _, f := range append(files, "/etc/apt/sources.list") {
		if text, err := os.ReadFile(f); err == nil {
			urls = append(urls, urlsIn(string(text))...)
		}
	}
	return urls
}
