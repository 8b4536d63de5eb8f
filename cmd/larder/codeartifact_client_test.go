package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"
)

// clientEnv is an environment in which no client finds settings, caches or
// proxies of the machine.
func clientEnv(t testing.TB, dir string) []string {
	t.Helper()
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Abs(filepath.Join("..", "..", ".tools", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"PATH=" + tools + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8", "TMPDIR=" + os.TempDir(),
		"CARGO_HOME=" + filepath.Join(home, ".cargo"), "MAVEN_OPTS=-Duser.home=" + home, "GRADLE_USER_HOME=" + filepath.Join(home, ".gradle"),
		"npm_config_update_notifier=false", "npm_config_fund=false", "npm_config_audit=false", "npm_config_cache=" + filepath.Join(home, ".npm"),
		"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "DO_NOT_TRACK=1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_DEFAULT_REGION=us-east-1", "AWS_PAGER=",
	}
	for _, kv := range [][2]string{{"RUSTUP_HOME", ".rustup"}, {"PYENV_ROOT", ".pyenv"}} {
		if v := fromHome(kv[0], kv[1]); v != "" {
			env = append(env, kv[0]+"="+v)
		}
	}
	if v := os.Getenv("JAVA_HOME"); v != "" {
		env = append(env, "JAVA_HOME="+v)
	}
	return env
}

// sign is what AWS clients read their credential and endpoint from.
func (s *site) sign(who keyPair) []string {
	env := []string{"AWS_ACCESS_KEY_ID=" + who.id, "AWS_SECRET_ACCESS_KEY=" + who.secret, "AWS_ENDPOINT_URL=" + s.base}
	if who.session != "" {
		env = append(env, "AWS_SESSION_TOKEN="+who.session)
	}
	return env
}

// aws runs the AWS CLI as a user: "codeartifact" stands before args. Variables
// (NAME=value) may stand first.
func (s *site) aws(who keyPair, args ...string) outcome {
	s.Helper()
	env := s.sign(who)
	for len(args) > 0 && strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "-") {
		env, args = append(env, args[0]), args[1:]
	}
	args = append([]string{"codeartifact"}, args...)
	return s.driver().do(s, "aws "+strings.Join(args, " "), driverOrder{Args: args, Env: env})
}

// boto runs lines of Python with boto3 as a user. They find a client of
// CodeArtifact in ca, and print.
func (s *site) boto(who keyPair, code string) outcome {
	s.Helper()
	return s.run("", s.sign(who), "python-boto3", "-c", "import boto3, json\nfrom botocore.exceptions import ClientError\nca = boto3.client('codeartifact')\n"+code)
}

// sdk is the client of the SDK for Go, as a user. It tries once.
func (s *site) sdk(who keyPair) *codeartifact.Client {
	return codeartifact.New(codeartifact.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.base), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: who.id, SecretAccessKey: who.secret, SessionToken: who.session}, nil
		})})
}

// token asks for a bearer token of a domain.
func (s *site) token(who keyPair, domain string) string {
	s.Helper()
	out, err := s.sdk(who).GetAuthorizationToken(s.Context(), &codeartifact.GetAuthorizationTokenInput{Domain: &domain, DomainOwner: aws.String(siteOwner)})
	if err != nil {
		s.Fatal(err)
	}
	return *out.AuthorizationToken
}

// makeDomain and makeRepository are the administrator's.
func (s *site) makeDomain(name string) {
	s.Helper()
	if _, err := s.sdk(admin()).CreateDomain(s.Context(), &codeartifact.CreateDomainInput{Domain: &name}); err != nil {
		s.Fatal(err)
	}
}

func (s *site) makeRepository(domain, name string, upstreams ...string) {
	s.Helper()
	in := &codeartifact.CreateRepositoryInput{Domain: &domain, Repository: &name}
	for _, u := range upstreams {
		in.Upstreams = append(in.Upstreams, types.UpstreamRepository{RepositoryName: aws.String(u)})
	}
	if _, err := s.sdk(admin()).CreateRepository(s.Context(), in); err != nil {
		s.Fatal(err)
	}
}

func upstreamArgs(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	args := []string{"--upstreams"}
	for _, n := range names {
		args = append(args, "repositoryName="+n)
	}
	return args
}

// endpoint is the path of a repository's package endpoint.
func endpoint(format, domain, repo string) string {
	return "/" + format + "/d/" + domain + "-" + siteOwner + "/" + repo + "/"
}

// pythonDriver is a Python that has the AWS CLI loaded and forks for each
// command: the commands are the real ones, each in a process of its own, without
// a second of imports before it.
type pythonDriver struct {
	mu  sync.Mutex
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

type driverOrder struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	Out  string   `json:"out"`
	Err  string   `json:"err"`
}

const driverProgram = `
import json, os, sys, traceback
import awscli.clidriver
import botocore.session, botocore.parsers, botocore.serialize, botocore.auth, botocore.endpoint, botocore.httpsession
awscli.clidriver.create_clidriver()  # imports the rest
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        rc = 255
        try:
            os.chdir(order["dir"])
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            for fd, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), fd)
            models = os.environ["AWS_DATA_PATH"]
            os.environ.clear()
            os.environ.update(kv.split("=", 1) for kv in order["env"])
            os.environ["AWS_DATA_PATH"] = models
            sys.argv = ["aws"] + order["args"]
            rc = awscli.clidriver.main()
        except SystemExit as e:
            rc = e.code if isinstance(e.code, int) else 1
        except BaseException:
            traceback.print_exc()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(rc or 0)
    _, status = os.waitpid(pid, 0)
    answers.write("%d\n" % os.waitstatus_to_exitcode(status))
    answers.flush()
`

// driver starts the Python of the AWS CLI once.
func (s *site) driver() *pythonDriver {
	s.Helper()
	s.client("aws", s.env)
	if s.python != nil {
		return s.python
	}
	cmd := exec.Command(s.client("python-boto3", s.env), "-c", driverProgram)
	cmd.Env, cmd.Dir, cmd.Stderr = s.env, s.dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.python = &pythonDriver{cmd: cmd, in: in, out: bufio.NewReader(out)}
	return s.python
}

func (d *pythonDriver) do(s *site, what string, o driverOrder) outcome {
	s.Helper()
	o.Env = append(slicesOf(s.env), o.Env...)
	if o.Dir == "" {
		o.Dir = s.dir
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	o.Out, o.Err = filepath.Join(s.dir, "driver.out"), filepath.Join(s.dir, "driver.err")
	line, err := json.Marshal(o)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		s.Fatal(err)
	}
	answer, err := d.out.ReadString('\n')
	if err != nil {
		s.Fatalf("the Python of the AWS CLI: %v", err)
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			s.Fatal(err)
		}
		return string(text)
	}
	return outcome{s.T, what, atoi(s.T, strings.TrimSpace(answer)), read(o.Out), read(o.Err)}
}

func (d *pythonDriver) close() {
	_ = d.in.Close() // it ends when its orders do
	_ = d.cmd.Wait()
}
