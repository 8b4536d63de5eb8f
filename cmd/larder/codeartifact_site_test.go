package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
)

// The first administrator of every site of these checks, and the account that
// owns its domains.
const (
	adminKeyID  = "AKIALARDERADMIN00001"
	adminSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYlarderTESTS"
	siteOwner   = "111122223333"
)

// keyPair is an access key, or a session's.
type keyPair struct{ id, secret, session string }

// site is one node in a process of its own, the registries that stand in for the
// public ones, and clients with homes of their own.
type site struct {
	*testing.T
	*siteRun
}

// siteRun is what all checks of a site share.
type siteRun struct {
	dir        string // holds larder.toml, data and the clients' files
	env        []string
	base       string // http://HOST:PORT
	node       *runningNode
	upstreams  map[string]*formattest.Upstream // by connection: public:npmjs, ...
	registries map[string]http.Handler         // what they serve
	npm        *npmtest.Registry
	python     *pythonDriver
	provider   *ecdsa.PrivateKey // of the identity provider
}

// in is the site as a subtest sees it.
func (s *site) in(t *testing.T) *site { return &site{t, s.siteRun} }

// newSite starts a node whose config begins with head. It has the connections
// public:npmjs, public:pypi, public:maven-central and public:crates-io to fake
// registries of this process, and the repository main in the domain main.
func newSite(t *testing.T, head string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t, &siteRun{dir: dir, upstreams: map[string]*formattest.Upstream{}, npm: npmtest.Default()}}
	s.env = clientEnv(t, dir)
	s.registries = map[string]http.Handler{"public:npmjs": s.npm, "public:pypi": registryOf("pypi"),
		"public:maven-central": registryOf("maven"), "public:crates-io": registryOf("cargo")}
	for name, h := range s.registries {
		s.upstreams[name] = formattest.Serve(t, h)
	}
	s.provide()
	s.configure(head)
	s.start()
	t.Cleanup(func() {
		if s.node != nil {
			s.node.kill()
		}
		if s.python != nil {
			s.python.close()
		}
	})
	return s
}

// configure writes the config, which takes effect at the next start or reload.
func (s *site) configure(head string) {
	s.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "owner = %q\n%s\n", siteOwner, head)
	for _, c := range []struct{ name, format, path string }{{"public:npmjs", "npm", "/"}, {"public:pypi", "pypi", "/simple/"}, {"public:maven-central", "maven", "/"}, {"public:crates-io", "cargo", "/index/"}} {
		fmt.Fprintf(&b, "\n[[connection]]\nname = %q\nformat = %q\nurl = %q\nmetadata_ttl = \"0s\"\n", c.name, c.format, s.upstreams[c.name].URL+c.path)
	}
	b.WriteString(providerConfig() + "\n[[repository]]\nname = \"main\"\n")
	s.write("larder.toml", b.String())
}

// write makes a file in the site's directory and returns its path.
func (s *site) write(name, text string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
	return path
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

func (s *site) log() string {
	log, err := os.ReadFile(filepath.Join(s.dir, "node.log"))
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// start runs the node: at the address that it had before, if it ran.
func (s *site) start() {
	s.Helper()
	listen := "127.0.0.1:0"
	if s.base != "" {
		listen = strings.TrimPrefix(s.base, "http://")
	}
	env := append(slicesOf(s.env), adminKeyEnv+"="+adminKeyID, adminSecretEnv+"="+adminSecret)
	var err error
	s.node, s.base, err = startNode(env, s.dir, filepath.Join(s.dir, "node.log"), []string{"serve", "--config", "larder.toml", "--data", "data", "--listen", listen})
	if err != nil {
		s.Fatalf("%v; the node's log:\n%s", err, s.log())
	}
}

// stop ends the node as an operator does, and wants status 0.
func (s *site) stop() {
	s.Helper()
	if err := s.node.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	select {
	case err := <-s.node.done:
		s.node = nil
		if err != nil {
			s.Fatalf("the node ended with %v; its log:\n%s", err, s.log())
		}
	case <-time.After(time.Minute):
		s.Fatal("the node still runs a minute after SIGTERM")
	}
}

func (s *site) restart() { s.Helper(); s.stop(); s.start() }

// reload sends SIGHUP and waits until the config is in force.
func (s *site) reload() {
	s.Helper()
	before := strings.Count(s.log(), "event=reload")
	if err := s.node.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.Fatal(err)
	}
	waitFor(s.T, func() bool { return strings.Count(s.log(), "event=reload") > before })
	if log := s.log(); strings.LastIndex(log, "event=reload_failed") > strings.LastIndex(log, "event=reloaded") {
		s.Fatalf("the node refuses its config:\n%s", log)
	}
}

// larder runs a subcommand against the site's data directory.
func (s *site) larder(args ...string) string {
	s.Helper()
	return s.run("", nil, "larder", args...).good().out
}

// credential makes an access key for a user.
func (s *site) credential(user string, more ...string) keyPair {
	s.Helper()
	out := s.larder(append([]string{"credential", "create", "--config", "larder.toml", "--data", "data", "--user", user}, more...)...)
	m := regexp.MustCompile(`AWS_ACCESS_KEY_ID=(\S+)\nAWS_SECRET_ACCESS_KEY=(\S+)`).FindStringSubmatch(out)
	if m == nil {
		s.Fatalf("larder credential create said:\n%s", out)
	}
	return keyPair{id: m[1], secret: m[2]}
}

func admin() keyPair { return keyPair{id: adminKeyID, secret: adminSecret} }

// outcome is what a program did.
type outcome struct {
	t        testing.TB
	what     string
	code     int
	out, err string
}

// good wants status 0.
func (o outcome) good() outcome {
	o.t.Helper()
	if o.code != 0 {
		o.t.Fatalf("%s ended with %d\n%s%s", o.what, o.code, o.out, o.err)
	}
	return o
}

// bad wants a failure whose output has all of the words.
func (o outcome) bad(words ...string) outcome {
	o.t.Helper()
	if o.code == 0 {
		o.t.Fatalf("%s went well, want a failure with %q\n%s", o.what, words, o.out)
	}
	for _, w := range words {
		if !strings.Contains(o.out+o.err, w) {
			o.t.Fatalf("%s says nothing of %q:\n%s%s", o.what, w, o.out, o.err)
		}
	}
	return o
}

// json decodes what was printed.
func (o outcome) json() object {
	o.t.Helper()
	o.good()
	var v object
	if err := json.Unmarshal([]byte(o.out), &v); err != nil {
		o.t.Fatalf("%s: %v\n%s", o.what, err, o.out)
	}
	return v
}

// object is a JSON object.
type object map[string]any

// at follows a path of member names and list positions such as
// "repository.upstreams.0.repositoryName"; numbers and texts come as they print.
func (o object) at(path string) string {
	var v any = map[string]any(o)
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i := 0
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(x) {
				return ""
			}
			v = x[i]
		default:
			return ""
		}
	}
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case float64:
		return strings.TrimSuffix(fmt.Sprintf("%f", x), ".000000")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// all is one member of every object in a list, joined by blanks.
func (o object) all(list, member string) string {
	l, _ := o[list].([]any)
	var out []string
	for _, e := range l {
		switch x := e.(type) {
		case map[string]any:
			out = append(out, object(x).at(member))
		default:
			out = append(out, fmt.Sprint(x))
		}
	}
	return strings.Join(out, " ")
}

// run runs a program in a directory below the site's, with the clients' clean
// environment and more.
func (s *site) run(dir string, more []string, name string, args ...string) outcome {
	s.Helper()
	dir = filepath.Join(s.dir, dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.Fatal(err)
	}
	env := append(slicesOf(s.env), more...)
	cmd := exec.Command(s.client(name, env), args...)
	cmd.Dir, cmd.Env = dir, env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		s.Fatalf("run %s: %v", name, err)
	}
	return outcome{s.T, name + " " + strings.Join(args, " "), cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// client finds a program. Without it the check is skipped, unless
// LARDER_E2E_REQUIRE=1 forbids that.
func (s *site) client(name string, env []string) string {
	s.Helper()
	for _, kv := range env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, dir := range filepath.SplitList(path) {
				file := filepath.Join(dir, name)
				if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
					return file
				}
			}
		}
	}
	if os.Getenv("LARDER_E2E_REQUIRE") == "1" {
		s.Fatalf("%s is not installed, and LARDER_E2E_REQUIRE=1 forbids to go without it (.ci/run installs it)", name)
	}
	s.Skipf("%s is not installed", name)
	return ""
}

// reply is an HTTP answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// request sends one request with a bearer token; "" sends none.
func (s *site) request(method, url, token string, body io.Reader) reply {
	s.Helper()
	if strings.HasPrefix(url, "/") {
		url = s.base + url
	}
	rq, err := http.NewRequest(method, url, body)
	if err != nil {
		s.Fatal(err)
	}
	if token != "" {
		rq.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

func (s *site) get(url, token string) reply { s.Helper(); return s.request("GET", url, token, nil) }

// same compares what a check found with what it wants.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func slicesOf(env []string) []string { return append([]string(nil), env...) }
