package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/cargo/cargotest"
	"larder/formats/formattest"
	"larder/formats/maven/maventest"
	"larder/formats/npm/npmtest"
	"larder/formats/pypi/pypitest"
)

const siteDomain = "main"

// packageSite is a site that nobody uses without a credential, as the checks
// about packages see it: with the administrator's client and token. They run side
// by side and keep to repositories and package names of their own.
type packageSite struct {
	*siteRun
	api     *codeartifact.Client
	bearer  string
	pypi    *pypitest.Registry
	maven   *maventest.Registry
	cargo   *cargotest.Registry
	flaky   *npmtest.Registry // what flakyUp serves
	flakyUp *formattest.Upstream
	cli     sync.Once // starts the Python of the AWS CLI
}

func newPackageSite(t *testing.T) *packageSite {
	t.Helper()
	p := &packageSite{flaky: npmtest.New()}
	p.flakyUp = formattest.Serve(t, p.flaky)
	s := newSite(t, "region = \"us-east-1\"\n[access]\nanonymous = \"none\"\n[events]\nfile = \"events.jsonl\"\n"+
		"[[connection]]\nname = \"public:flaky\"\nformat = \"npm\"\nmetadata_ttl = \"0s\"\nurl = \""+p.flakyUp.URL+"/\"\n")
	p.siteRun, p.api, p.bearer = s.siteRun, s.sdk(admin()), s.token(admin(), siteDomain)
	p.pypi = s.registries["public:pypi"].(*pypitest.Registry)
	p.maven = s.registries["public:maven-central"].(*maventest.Registry)
	p.cargo = s.registries["public:crates-io"].(*cargotest.Registry)
	return p
}

func (s *packageSite) eventFile() string { return filepath.Join(s.dir, "events.jsonl") }

// host is the node's HOST:PORT.
func (s *packageSite) host() string { return strings.TrimPrefix(s.base, "http://") }

// path is a repository's endpoint below the node's base, with its slash.
func (s *packageSite) path(format, repo string) string {
	return "/" + format + "/d/" + siteDomain + "-" + siteOwner + "/" + repo + "/"
}

// repository makes a repository with upstreams; one that begins with "public:"
// is an external connection.
func (s *packageSite) repository(t *testing.T, name string, upstreams ...string) string {
	t.Helper()
	in := &codeartifact.CreateRepositoryInput{Domain: aws.String(siteDomain), Repository: &name}
	connection := ""
	for _, up := range upstreams {
		if strings.HasPrefix(up, "public:") {
			connection = up
			continue
		}
		in.Upstreams = append(in.Upstreams, types.UpstreamRepository{RepositoryName: aws.String(up)})
	}
	if _, err := s.api.CreateRepository(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if connection != "" {
		_, err := s.api.AssociateExternalConnection(t.Context(), &codeartifact.AssociateExternalConnectionInput{
			Domain: aws.String(siteDomain), Repository: &name, ExternalConnection: &connection})
		if err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// answer is what an HTTP request was answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes one request with the administrator's token; header pairs follow,
// and an Authorization that is given replaces the token ("" leaves it out).
func (s *packageSite) send(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	rq, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Authorization", "Bearer "+s.bearer)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			rq.Header.Del(header[i])
			continue
		}
		rq.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

// wants sends and fails the check on another status.
func (s *packageSite) wants(t *testing.T, status int, method, path, body string, header ...string) answer {
	t.Helper()
	a := s.send(t, method, path, body, header...)
	if a.status != status {
		t.Fatalf("%s %s: %d %.500s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// errorCode is the error code of an API call, "" where it went well.
func errorCode(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var e interface{ ErrorCode() string }
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	return e.ErrorCode()
}

// shell is a clean home on a machine with every client.
type shell struct {
	t         *testing.T
	site      *site
	home, dir string
	env       []string
}

// shell gives a check a home of its own with the administrator's access key, or
// skips it where one of the clients is missing.
func (s *packageSite) shell(t *testing.T, clients ...string) *shell {
	t.Helper()
	for _, c := range clients {
		ok, err := scriptCondition("client:" + c)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			t.Skipf("%s is not installed", c)
		}
	}
	tools, err := filepath.Abs(filepath.Join("..", "..", ".tools", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(clients, "aws") {
		s.cli.Do(func() { (&site{t, s.siteRun}).driver() })
	}
	sh := &shell{t: t, site: &site{t, s.siteRun}, home: t.TempDir(), dir: t.TempDir()}
	sh.env = []string{"PATH=" + tools + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + sh.home, "LANG=C.UTF-8",
		"RUSTUP_HOME=" + fromHome("RUSTUP_HOME", ".rustup"), "PYENV_ROOT=" + fromHome("PYENV_ROOT", ".pyenv"), "CARGO_HOME=" + filepath.Join(sh.home, ".cargo"),
		"JAVA_HOME=" + os.Getenv("JAVA_HOME"), "AWS_ACCESS_KEY_ID=" + adminKeyID, "AWS_SECRET_ACCESS_KEY=" + adminSecret, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_ENDPOINT_URL=" + s.base, "npm_config_update_notifier=false", "npm_config_audit=false", "npm_config_fund=false",
		"npm_config_fetch_retries=0", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "YARN_ENABLE_TELEMETRY=0", "DO_NOT_TRACK=1", "CARGO_TERM_COLOR=never",
		"CARGO_NET_RETRY=0", "RUSTUP_AUTO_INSTALL=0", "CI=1"}
	return sh
}

func (sh *shell) path(name string) string { return filepath.Join(sh.dir, name) }

// write puts a file below the working directory.
func (sh *shell) write(name, text string) {
	sh.t.Helper()
	if err := os.MkdirAll(filepath.Dir(sh.path(name)), 0o755); err != nil {
		sh.t.Fatal(err)
	}
	if err := os.WriteFile(sh.path(name), []byte(text), 0o644); err != nil {
		sh.t.Fatal(err)
	}
}

func (sh *shell) read(path string) string {
	sh.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		sh.t.Fatal(err)
	}
	return string(b)
}

// run runs a client in a directory below the working directory.
func (sh *shell) run(dir string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// LookPath of the shell's PATH, not of this process's.
	cmd := exec.CommandContext(ctx, "env", append(append([]string{"-i"}, sh.env...), args...)...)
	cmd.Dir = sh.path(dir)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err = cmd.Run()
	return out.String(), bad.String(), err
}

// must runs a client that has to succeed and returns its standard output.
func (sh *shell) must(dir string, args ...string) string {
	sh.t.Helper()
	out, bad, err := sh.run(dir, args...)
	if err != nil {
		sh.t.Fatalf("%s: %v\n%s\n%s", strings.Join(args, " "), err, out, bad)
	}
	return out
}

// fails runs a client that has to fail and say want.
func (sh *shell) fails(want, dir string, args ...string) {
	sh.t.Helper()
	out, bad, err := sh.run(dir, args...)
	if err == nil {
		sh.t.Fatalf("%s went well:\n%s\n%s", strings.Join(args, " "), out, bad)
	}
	if !strings.Contains(out+bad, want) {
		sh.t.Fatalf("%s does not say %q:\n%s\n%s", strings.Join(args, " "), want, out, bad)
	}
}

// aws runs "aws codeartifact" and decodes its answer.
func (sh *shell) aws(into any, args ...string) {
	sh.t.Helper()
	out := sh.cli(args).good().out
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		sh.t.Fatalf("aws codeartifact %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// awsRefuses runs "aws codeartifact" and wants an error code.
func (sh *shell) awsRefuses(code string, args ...string) {
	sh.t.Helper()
	sh.cli(args).bad("(" + code + ")")
}

func (sh *shell) cli(args []string) outcome {
	sh.t.Helper()
	if sh.site.python == nil {
		sh.t.Fatal("the Python of the AWS CLI did not start")
	}
	args = append([]string{"codeartifact"}, args...)
	return sh.site.python.do(sh.site, "aws "+strings.Join(args, " "), driverOrder{Args: args, Env: sh.env, Dir: sh.dir})
}
