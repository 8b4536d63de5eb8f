package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"larder/formats/cargo/cargotest"
	"larder/formats/formattest"
	"larder/formats/golang/golangtest"
	"larder/formats/maven/maventest"
	"larder/formats/npm/npmtest"
	"larder/formats/pypi/pypitest"
)

// registryOf returns the fake registry of a format with its default content.
func registryOf(format string) http.Handler {
	switch format {
	case "npm":
		return npmtest.Default()
	case "npm-empty":
		return npmtest.New()
	case "pypi":
		return pypitest.New()
	case "pypi-empty":
		return pypitest.Empty()
	case "maven":
		return maventest.New()
	case "maven-empty":
		return maventest.Empty()
	case "go":
		return golangtest.New()
	case "go-empty":
		return golangtest.Empty()
	case "cargo":
		return cargotest.New()
	case "cargo-empty":
		return cargotest.Empty()
	case "idp":
		return newIdentityProvider()
	case "webhook":
		return &hook{}
	}
	return nil
}

type worldKey struct{}

// world is what one script has running beside it.
type world struct {
	t         testing.TB
	work      string
	base      []string // environment given by Setup
	upstreams map[string]*fakeUpstream
	node      *runningNode
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func (w *world) close() {
	if w.node != nil {
		w.node.kill()
	}
	for _, u := range w.upstreams {
		u.heal()
		u.Stop()
	}
}

func (w *world) upstream(ts *testscript.TestScript, name string) *fakeUpstream {
	u := w.upstreams[name]
	if u == nil {
		ts.Fatalf("no upstream %q was started", name)
	}
	return u
}

// environ is the script's environment as a program sees it.
func (w *world) environ(ts *testscript.TestScript, more []string) []string {
	var env []string
	for _, kv := range w.base {
		key, _, _ := strings.Cut(kv, "=")
		env = append(env, key+"="+ts.Getenv(key))
	}
	return append(env, more...)
}

// fakeUpstream is a fake registry and what holds its clients up.
type fakeUpstream struct {
	*formattest.Upstream
	handler  http.Handler
	releases []func()
}

// count returns how many requests match a pattern over "METHOD /path?query",
// and all of them.
func (u *fakeUpstream) count(pattern string) (n int, log string, err error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return 0, "", err
	}
	for _, asked := range u.Requests() {
		line := asked.Method + " " + asked.Path
		if asked.Query != "" {
			line += "?" + asked.Query
		}
		if re.MatchString(line) {
			n++
		}
		log += line + "\n"
	}
	return n, log, nil
}

// heal lets it answer again.
func (u *fakeUpstream) heal() {
	u.Heal()
	for _, release := range u.releases {
		release()
	}
	u.releases = nil
}

// fault turns the word of a script into what the upstream does.
func (u *fakeUpstream) fault(word string) (formattest.Fault, error) {
	switch word {
	case "hang":
		f, release := formattest.Hang()
		u.releases = append(u.releases, release)
		return f, nil
	case "html":
		return formattest.HTML(), nil
	case "reset":
		return formattest.Reset(), nil
	case "truncate":
		return formattest.Truncate(10), nil
	case "corrupt":
		return formattest.Corrupt(-1), nil
	case "lengthen":
		return formattest.Lengthen(10), nil
	}
	status, err := strconv.Atoi(word)
	if err != nil {
		return nil, fmt.Errorf("unknown fault %q", word)
	}
	return formattest.Status(status), nil
}

// runningNode is a larder process.
type runningNode struct {
	cmd  *exec.Cmd
	done chan error
}

func (n *runningNode) kill() {
	_ = n.cmd.Process.Kill() // it may have ended already
	<-n.done
}

func startNode(env []string, dir, logFile string, args []string) (*runningNode, string, error) {
	path, err := exec.LookPath("larder")
	if err != nil {
		return nil, "", err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir, cmd.Stderr = env, dir, log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	n := &runningNode{cmd: cmd, done: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		ready <- line
		keepOutput(logFile+".out", r)
		n.done <- cmd.Wait()
	}()
	select {
	case line := <-ready:
		if base, ok := strings.CutPrefix(strings.TrimSpace(line), "larder: serving "); ok {
			return n, base, nil
		}
		n.kill()
		return nil, "", fmt.Errorf("the node said %q instead of the ready line", line)
	case <-time.After(time.Minute):
		n.kill()
		return nil, "", errors.New("the node is not ready after a minute")
	}
}

// keepOutput appends what a node writes to standard output, where events may go.
func keepOutput(file string, r io.Reader) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		_, _ = io.Copy(io.Discard, r)
		return
	}
	defer f.Close()
	_, _ = io.Copy(f, r)
}

// scriptCommands are the words of testdata/script besides testscript's own.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"upstream":      scriptUpstream,
		"upstreamstop":  func(ts *testscript.TestScript, _ bool, args []string) { one(ts, args).Stop() },
		"upstreamstart": func(ts *testscript.TestScript, _ bool, args []string) { one(ts, args).Start() },
		"upstreamfault": scriptFault,
		"requests":      scriptRequests,
		"await":         scriptAwait,
		"forget":        scriptForget,
		"node":          scriptNode,
		"livenode":      scriptLiveNode,
		"npmregistry":   scriptNpmRegistry,
		"goregistry":    scriptGoRegistry,
		"cargoregistry": scriptCargoRegistry,
		"mavenregistry": scriptMavenRegistry,
		"mavenlib":      scriptMavenLib,
		"pypiregistry":  scriptPyPIRegistry,
		"nodestop":      scriptNodeStop,
		"nodekill":      scriptNodeKill,
		"nodehup":       scriptNodeHup,
		"expand":        scriptExpand,
		"http":          scriptHTTP,
		"capture":       scriptCapture,
		"port":          scriptPort,
		"token":         scriptToken,
		"accesskey":     scriptAccessKey,
		"idp":           scriptIDP,
		"hooked":        scriptHooked,
		"lines":         scriptLines,
		"metric":        scriptMetric,
	}
}

func one(ts *testscript.TestScript, args []string) *fakeUpstream {
	if len(args) != 1 {
		ts.Fatalf("name one upstream")
	}
	return worldOf(ts).upstream(ts, args[0])
}

// upstream NAME VAR [FORMAT]: start the fake registry of FORMAT (NAME by
// default) with its default content and put its base URL into $VAR.
func scriptUpstream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: upstream NAME VAR [FORMAT]")
	}
	handler := registryOf(args[len(args)-1])
	if len(args) == 2 {
		handler = registryOf(args[0])
	}
	if handler == nil {
		ts.Fatalf("there is no fake registry %q", args[len(args)-1])
	}
	w := worldOf(ts)
	if w.upstreams[args[0]] != nil {
		ts.Fatalf("upstream %q runs already", args[0])
	}
	u := &fakeUpstream{Upstream: formattest.Serve(w.t, handler), handler: handler}
	w.upstreams[args[0]] = u
	ts.Setenv(args[1], u.URL)
}

// upstreamfault NAME off|hang|html|reset|truncate|corrupt|lengthen|STATUS [PATTERN]:
// from now on answer requests whose path matches PATTERN (all by default) like
// this.
func scriptFault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: upstreamfault NAME off|hang|html|reset|truncate|corrupt|lengthen|STATUS [PATTERN]")
	}
	u := worldOf(ts).upstream(ts, args[0])
	if args[1] == "off" {
		u.heal()
		return
	}
	f, err := u.fault(args[1])
	ts.Check(err)
	match := formattest.OnAny()
	if len(args) == 3 {
		re, err := regexp.Compile(args[2])
		ts.Check(err)
		match = func(rq *http.Request) bool { return re.MatchString(rq.URL.EscapedPath()) }
	}
	u.Break(match, f)
}

// requests NAME [PATTERN] N: the upstream was asked N times; PATTERN is matched
// against "METHOD /path?query".
func scriptRequests(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: requests NAME [PATTERN] N")
	}
	want, err := strconv.Atoi(args[len(args)-1])
	ts.Check(err)
	pattern := ""
	if len(args) == 3 {
		pattern = args[1]
	}
	got, log, err := worldOf(ts).upstream(ts, args[0]).count(pattern)
	ts.Check(err)
	if (got == want) == neg {
		ts.Fatalf("%s was asked %d times for %q, want %d; it saw\n%s", args[0], got, pattern, want, log)
	}
}

// await NAME PATTERN N: wait until the upstream was asked N times or more; for
// what the node does behind its clients' backs.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await NAME PATTERN N")
	}
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	u := worldOf(ts).upstream(ts, args[0])
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got, log, err := u.count(args[1])
		ts.Check(err)
		if got >= want {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s was asked %d times for %q in a minute, want %d; it saw\n%s", args[0], got, args[1], want, log)
		}
	}
}

// forget NAME: count from zero again.
func scriptForget(ts *testscript.TestScript, _ bool, args []string) {
	one(ts, args).Reset()
}

// node [KEY=VALUE ...] [FLAG ...]: run "larder serve" with its data in
// $WORK/data, wait until it is ready and put its base URL into $LARDER. Its log
// is $WORK/node.log, what it says on standard output $WORK/node.log.out. A second node replaces a stopped one. "! node" wants the
// start to fail.
func scriptNode(ts *testscript.TestScript, neg bool, args []string) {
	var env []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	runNode(ts, neg, worldOf(ts).environ(ts, env), args)
}

// livenode [FLAG ...]: as node, but with the environment and the home of this
// machine, in which discovery finds the registries that it uses.
func scriptLiveNode(ts *testscript.TestScript, neg bool, args []string) {
	runNode(ts, neg, os.Environ(), args)
}

func runNode(ts *testscript.TestScript, neg bool, env, args []string) {
	w := worldOf(ts)
	if w.node != nil {
		ts.Fatalf("a node runs already")
	}
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(w.work, "data")}, args...)
	logFile := filepath.Join(w.work, "node.log")
	node, base, err := startNode(env, ts.MkAbs("."), logFile, args)
	if neg {
		if err == nil {
			node.kill()
			ts.Fatalf("the node started")
		}
		return
	}
	if err != nil {
		log, _ := os.ReadFile(logFile)
		ts.Fatalf("%v; its log:\n%s", err, log)
	}
	w.node = node
	ts.Setenv("LARDER", base)
	_, addr, _ := strings.Cut(base, "://")
	ts.Setenv("LARDER_ADDR", addr)
}

func nodeOf(ts *testscript.TestScript) (*world, *runningNode) {
	w := worldOf(ts)
	if w.node == nil {
		ts.Fatalf("no node runs")
	}
	return w, w.node
}

// nodestop: SIGTERM; the node must end by itself with status 0.
func scriptNodeStop(ts *testscript.TestScript, _ bool, _ []string) {
	w, node := nodeOf(ts)
	ts.Check(node.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-node.done:
		w.node = nil
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(w.work, "node.log"))
			ts.Fatalf("the node ended with %v; its log:\n%s", err, log)
		}
	case <-time.After(time.Minute):
		ts.Fatalf("the node still runs a minute after SIGTERM")
	}
}

// nodekill: SIGKILL.
func scriptNodeKill(ts *testscript.TestScript, _ bool, _ []string) {
	w, node := nodeOf(ts)
	node.kill()
	w.node = nil
}

// nodehup: SIGHUP, and wait for the node to say in its log that it has reloaded
// or refused.
func scriptNodeHup(ts *testscript.TestScript, _ bool, _ []string) {
	w, node := nodeOf(ts)
	logFile := filepath.Join(w.work, "node.log")
	said := func() int {
		log, err := os.ReadFile(logFile)
		ts.Check(err)
		return bytes.Count(log, []byte("event=reload"))
	}
	before := said()
	ts.Check(node.cmd.Process.Signal(syscall.SIGHUP))
	deadline := time.Now().Add(time.Minute)
	for said() == before {
		if time.Now().After(deadline) {
			ts.Fatalf("the node says nothing about a reload a minute after SIGHUP")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// expand FILE...: replace $VAR and ${VAR} in files.
func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// http [-H 'Key: value'] [-d BODY] [-o FILE] [-e VAR] [-c CA] METHOD URL: one
// request, no redirects. Status line, header and body go to standard output (the
// body to FILE), the entity tag to $VAR. By https it trusts the file CA and
// nobody else. "! http" wants the exchange itself to fail.
func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	header, file, body, tag, ca := http.Header{}, "", io.Reader(nil), "", ""
	for len(args) > 2 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-H":
			key, value, _ := strings.Cut(args[1], ":")
			header.Add(key, strings.TrimSpace(value))
		case "-d":
			body = strings.NewReader(args[1])
		case "-o":
			file = ts.MkAbs(args[1])
		case "-e":
			tag = args[1]
		case "-c":
			ca = ts.ReadFile(args[1])
		default:
			ts.Fatalf("http knows no %s", args[0])
		}
		args = args[2:]
	}
	if len(args) != 2 {
		ts.Fatalf("usage: http [-H 'Key: value'] [-d BODY] [-o FILE] [-e VAR] [-c CA] METHOD URL")
	}
	dump, content, err := exchange(args[0], args[1], header, body, ca)
	if neg {
		if err == nil {
			ts.Fatalf("the exchange went well:\n%s", dump)
		}
		return
	}
	ts.Check(err)
	if file != "" {
		ts.Check(os.WriteFile(file, content, 0o644))
		content = nil
	}
	if tag != "" {
		etag := regexp.MustCompile(`(?m)^Etag: (.*)$`).FindStringSubmatch(dump)
		if etag == nil {
			ts.Fatalf("the answer has no entity tag:\n%s", dump)
		}
		ts.Setenv(tag, etag[1])
	}
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n", dump, content)
}

func exchange(method, url string, header http.Header, body io.Reader, ca string) (dump string, content []byte, err error) {
	rq, err := http.NewRequest(method, url, body)
	if err != nil {
		return "", nil, err
	}
	rq.Header = header
	if host := header.Get("Host"); host != "" {
		rq.Host = host
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	tr := &http.Transport{DisableCompression: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(rq)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	content, err = io.ReadAll(resp.Body)
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", resp.Proto, resp.Status)
	if err := resp.Header.Write(&b); err != nil {
		return "", nil, err
	}
	return strings.ReplaceAll(b.String(), "\r", ""), content, nil
}
