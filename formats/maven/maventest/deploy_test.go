package maventest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/maven"
	"larder/formats/maven/maventest"
)

// host serves one repository in memory, for reading and for deploying, and
// notes what clients sent. What it lacks comes from a registry that has the
// plugin which mvn runs here.
type host struct {
	t    *testing.T
	f    *maven.Format
	repo *formattest.Repository
	reg  *maventest.Registry
	base string

	mu  sync.Mutex
	log []string
}

func newHost(t *testing.T) *host {
	h := &host{t: t, f: maven.New(), repo: formattest.NewRepository(t, maventest.Epoch), reg: maventest.New()}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	h.base = srv.URL
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rq := formattest.NewRequest(hr.Method, h.base, strings.TrimPrefix(hr.URL.EscapedPath(), "/"), hr.Header)
	reply, err := h.answer(rq, hr.Body)
	if err != nil {
		if _, ok := h.reg.File(rq.Path); ok && hr.Method != "PUT" {
			h.reg.ServeHTTP(w, hr)
			return
		}
		reply = h.f.Refuse(rq, formats.AsRefusal(err))
	}
	h.log = append(h.log, fmt.Sprintf("%s %s %d", hr.Method, hr.URL.Path, reply.Status))
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write(reply.Body)
}

func (h *host) answer(rq *formats.Request, body io.Reader) (*formats.Reply, error) {
	if rq.Method == "PUT" {
		c, err := h.repo.Publish(h.f, rq, body)
		if err != nil {
			return nil, err
		}
		return c.Reply, nil
	}
	t, err := h.f.Route(rq)
	if err != nil {
		return nil, err
	}
	switch t.Kind {
	case formats.KindListing:
		var b bytes.Buffer
		head, err := h.f.Render(&b, h.repo.View(t.Name, h.base), t)
		return &formats.Reply{Status: 200, Header: head, Body: b.Bytes()}, err
	case formats.KindSidecar:
		held, file, err := h.open(*t.Derive)
		if err != nil {
			return nil, err
		}
		return h.f.Derive(t, held, file)
	case formats.KindAsset:
		held, file, err := h.open(t)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
		return &formats.Reply{Status: 200, Header: h.f.AssetHeader(t, held), Body: data}, err
	}
	return nil, formats.Refuse(formats.NotFound, "no %s here", t.Kind)
}

func (h *host) open(t formats.Target) (formats.HeldAsset, formats.File, error) {
	row := h.repo.Version(t.Name.Canon, t.Version)
	if row == nil || !row.Hosting.Status.Downloadable() {
		return formats.HeldAsset{}, nil, formats.Refuse(formats.NotFound, "%s %s is not here", t.Name.Show(), t.Version)
	}
	held, ok := row.Held[t.File]
	if !ok {
		return held, nil, formats.Refuse(formats.NotFound, "%s is not here", t.File)
	}
	file, err := h.repo.Open(t.Name.Canon, t.Version, t.File)
	return held, file, err
}

// refused are the writes that were refused, as "PUT path status".
func (h *host) refused() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, line := range h.log {
		if strings.HasPrefix(line, "PUT") && !strings.HasSuffix(line, " 201") && !strings.HasSuffix(line, " 200") {
			out = append(out, line)
		}
	}
	return out
}

// versions are those of com.example.app:lib, with their status.
func (h *host) versions() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows, err := h.repo.Intake(nil).Versions(formats.Name{Canon: "com.example.app:lib"})
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]string{}
	for _, row := range rows {
		out[row.V] = row.Hosting.Status.String()
	}
	return out
}

func (h *host) get(path string) (int, string) {
	h.t.Helper()
	resp, err := http.Get(h.base + "/" + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

const libPOM = `<project><modelVersion>4.0.0</modelVersion><groupId>com.example.app</groupId><artifactId>lib</artifactId><version>VERSION</version></project>`

const usesLib = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>app</groupId><artifactId>app</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency><groupId>com.example.app</groupId><artifactId>lib</artifactId><version>VERSION</version></dependency></dependencies>
</project>
`

// deployer runs the code by which the real mvn deploys: the resolver and the
// transport of the Maven that is installed.
type deployer struct {
	t                *testing.T
	java, lib, local string
	url, dir         string
}

func newDeployer(t *testing.T, url string) *deployer {
	if testing.Short() {
		t.Skip("starts a Java virtual machine")
	}
	d := &deployer{t: t, local: t.TempDir(), url: url, dir: t.TempDir()}
	mvn, err := exec.LookPath("mvn")
	if err == nil {
		mvn, err = filepath.EvalSymlinks(mvn)
	}
	if err == nil {
		d.java, err = exec.LookPath("java")
	}
	if err != nil && os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
		t.Fatalf("%v, and LARDER_REQUIRE_CLIENTS is set", err)
	}
	if err != nil {
		t.Skipf("SKIPPED: mvn or java is not installed (%v); nothing was checked", err)
	}
	d.lib = filepath.Join(filepath.Dir(filepath.Dir(mvn)), "lib", "*")
	return d
}

// deploy deploys a jar, its POM and sources.
func (d *deployer) deploy(version, content string) (string, error) {
	d.t.Helper()
	args := []string{"-cp", d.lib, filepath.Join("testdata", "Deploy.java"), d.url, d.local, "com.example.app", "lib", version}
	for kind, text := range map[string]string{":jar": content, ":pom": strings.ReplaceAll(libPOM, "VERSION", version), "sources:jar": "sources of " + content} {
		file := filepath.Join(d.dir, strings.ReplaceAll(kind, ":", "_"))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			d.t.Fatal(err)
		}
		args = append(args, kind, file)
	}
	out, err := exec.CommandContext(d.t.Context(), d.java, args...).CombinedOutput()
	return string(out), err
}

func TestRealMavenDeploys(t *testing.T) {
	h := newHost(t)
	d := newDeployer(t, h.base)
	for i, v := range []string{"1.0", "1.1", "1.2-SNAPSHOT", "1.2-SNAPSHOT", "1.1"} {
		content := "jar of " + v
		if strings.HasSuffix(v, "SNAPSHOT") {
			content += fmt.Sprint(i)
		}
		if out, err := d.deploy(v, content); err != nil {
			t.Fatalf("deploy %s: %v\n%s\n%s", v, err, out, strings.Join(h.log, "\n"))
		}
	}
	if bad := h.refused(); len(bad) > 0 {
		t.Errorf("refused: %q", bad)
	}
	builds := 0
	for v, st := range h.versions() {
		base, isBuild := h.f.Base(v)
		want, dir := "Published", v
		if isBuild {
			want, dir, builds = "Unlisted", base, builds+1
		}
		if st != want {
			t.Errorf("%s is %s, want %s", v, st, want)
		}
		for _, ext := range []string{".pom", ".jar", "-sources.jar"} {
			if code, _ := h.get("com/example/app/lib/" + dir + "/lib-" + v + ext); code != 200 && !strings.HasSuffix(v, "SNAPSHOT") {
				t.Errorf("%s of %s: status %d", ext, v, code)
			}
		}
	}
	if builds != 2 || len(h.versions()) != 5 {
		t.Errorf("%v, want two releases, a snapshot and two builds of it", h.versions())
	}
	_, doc := h.get("com/example/app/lib/1.2-SNAPSHOT/maven-metadata.xml")
	if !strings.Contains(doc, "<buildNumber>2</buildNumber>") || strings.Contains(doc, "-1</value>") {
		t.Errorf("the snapshot's document does not name its second build alone:\n%s", doc)
	}

	out, err := d.deploy("1.1", "other bytes")
	if err == nil || !strings.Contains(out, "409") {
		t.Errorf("other bytes of a release: %v\n%s", err, out)
	}

	for version, file := range map[string]string{"[1.0,1.1]": "1.1/lib-1.1.jar", "1.2-SNAPSHOT": "1.2-SNAPSHOT/lib-1.2-SNAPSHOT.jar"} {
		p := maventest.NewProject(t, h.base)
		if err := os.WriteFile(filepath.Join(p.Dir, "pom.xml"), []byte(strings.ReplaceAll(usesLib, "VERSION", version)), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := p.Maven(t); err != nil {
			t.Fatalf("mvn: %v\n%s", err, out)
		}
		got, err := os.ReadFile(filepath.Join(p.Repo, "com/example/app/lib", file))
		if err != nil || !strings.HasPrefix(string(got), "jar of 1.") {
			t.Errorf("%s did not lead to %s: %v", version, file, err)
		}
	}
}

const usesLibGradle = `
repositories { maven { url "URL" } }
configurations { fetched; newest; build }
dependencies {
  fetched("com.example.app:lib:1.2-SNAPSHOT") { changing = true }
  newest "com.example.app:lib:1.+"
  build "com.example.app:lib:1.2-20260101.120000-1"
}
task fetch(type: Copy) { from configurations.fetched; from configurations.newest; from configurations.build; into "lib"; duplicatesStrategy = 'exclude' }
`

// put deploys a file with its checksums as Gradle sends them.
func (h *host) put(path, body string) {
	h.t.Helper()
	files := []struct{ path, body string }{{path, body}}
	for _, d := range formattest.SpoolOf([]byte(body)).Digests() {
		files = append(files, struct{ path, body string }{path + "." + string(d.Alg), d.Hex})
	}
	for _, f := range files {
		req, err := http.NewRequestWithContext(h.t.Context(), "PUT", h.base+"/com/example/app/lib/"+f.path, strings.NewReader(f.body))
		if err != nil {
			h.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			h.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			h.t.Errorf("PUT %s: %s", f.path, resp.Status)
		}
	}
}

func TestRealGradleResolvesWhatWasDeployed(t *testing.T) {
	h := newHost(t)
	p := maventest.NewProject(t, h.base)
	if err := os.WriteFile(filepath.Join(p.Dir, "build.gradle"), []byte(strings.ReplaceAll(usesLibGradle, "URL", h.base)), 0o644); err != nil {
		t.Fatal(err)
	}
	list := "<metadata><groupId>com.example.app</groupId><artifactId>lib</artifactId><versioning><versions><version>VERSION</version></versions></versioning></metadata>"
	h.put("1.1/lib-1.1.jar", "release")
	h.put("1.1/lib-1.1.pom", strings.ReplaceAll(libPOM, "VERSION", "1.1"))
	h.put("maven-metadata.xml", strings.ReplaceAll(list, "VERSION", "1.1"))
	for i, stamp := range []string{"20260101.120000-1", "20260102.120000-2"} {
		h.put("1.2-SNAPSHOT/lib-1.2-"+stamp+".jar", "build "+stamp)
		h.put("1.2-SNAPSHOT/lib-1.2-"+stamp+".pom", strings.ReplaceAll(libPOM, "VERSION", "1.2-SNAPSHOT"))
		h.put("1.2-SNAPSHOT/maven-metadata.xml", fmt.Sprintf("<metadata><groupId>com.example.app</groupId><artifactId>lib</artifactId><version>1.2-SNAPSHOT</version><versioning><snapshot><timestamp>%s</timestamp><buildNumber>%d</buildNumber></snapshot></versioning></metadata>", stamp[:15], i+1))
		h.put("maven-metadata.xml", strings.ReplaceAll(list, "VERSION", "1.2-SNAPSHOT"))
	}
	out, err := p.Gradle(t)
	if err != nil {
		t.Fatalf("gradle: %v\n%s\n%s", err, out, strings.Join(h.log, "\n"))
	}
	for file, want := range map[string]string{"lib-1.2-SNAPSHOT.jar": "build 20260102.120000-2", "lib-1.2-20260101.120000-1.jar": "build 20260101.120000-1"} {
		if got, err := os.ReadFile(filepath.Join(p.Dir, "lib", file)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", file, got, err, want)
		}
	}
	if t.Failed() {
		t.Log(out, strings.Join(h.log, "\n"))
	}
}
