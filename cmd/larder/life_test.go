package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
)

// lived is one node process with a registry behind it.
type lived struct {
	t        *testing.T
	dir      string
	upstream *formattest.Upstream
	node     *runningNode
	base     string
}

// live starts a node over h with more lines in its config.
func live(t *testing.T, h http.Handler, config string) *lived {
	t.Helper()
	l := &lived{t: t, dir: t.TempDir(), upstream: formattest.Serve(t, h)}
	l.write(config)
	var err error
	if l.node, l.base, err = startNode(os.Environ(), l.dir, l.file("node.log"), []string{"serve", "--config", "larder.toml", "--listen", "127.0.0.1:0", "--data", "data"}); err != nil {
		t.Fatalf("%v\n%s", err, l.log())
	}
	t.Cleanup(func() {
		if l.node != nil {
			l.node.kill()
		}
	})
	return l
}

func (l *lived) file(name string) string { return filepath.Join(l.dir, name) }

func (l *lived) log() string {
	log, err := os.ReadFile(l.file("node.log"))
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// write puts head and the usual connection into the config.
func (l *lived) write(head string) {
	l.t.Helper()
	text := head + fmt.Sprintf("\n[[connection]]\nname = \"public:npm\"\nformat = \"npm\"\nurl = \"%s/\"\nmetadata_ttl = \"1h\"\n[[repository]]\nname = \"main\"\nconnection = \"public:npm\"\n", l.upstream.URL)
	if err := os.WriteFile(l.file("larder.toml"), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lived) get(path string) (int, string) {
	l.t.Helper()
	resp, err := http.Get(l.base + path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// said waits until the log holds text n times.
func (l *lived) said(text string, n int) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); strings.Count(l.log(), text) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("the log does not hold %q %d times:\n%s", text, n, l.log())
		}
	}
}

// ends waits for the process and returns its exit error.
func (l *lived) ends() error {
	l.t.Helper()
	select {
	case err := <-l.node.done:
		l.node = nil
		return err
	case <-time.After(time.Minute):
		l.t.Fatalf("the node still runs\n%s", l.log())
		return nil
	}
}

func (l *lived) reload() {
	l.t.Helper()
	n := strings.Count(l.log(), "event=reload")
	if err := l.node.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		l.t.Fatal(err)
	}
	l.said("event=reload", n+1)
}

// SIGTERM lets a running download end, takes no new connection, and exits with
// status 0.
func TestDrain(t *testing.T) {
	reg := npmtest.New()
	reg.Add(npmtest.Package{Name: "large", Version: "1.0.0", Files: map[string]string{"data.bin": string(numbered(8))}})
	l := live(t, reg, "")
	want := reg.Tarball("large", "1.0.0")
	hang, release := formattest.HangBody(len(want) / 2)
	defer release()
	l.upstream.Break(formattest.OnSuffix(".tgz"), hang)
	resp, err := http.Get(l.base + "/npm/main/large/-/large-1.0.0.tgz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	if err := l.node.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	l.said("event=draining", 1)
	// The listener closes right after that line.
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.base, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	release()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(append(first, rest...), want) {
		t.Errorf("the running download: %d of %d bytes, %v", 1000+len(rest), len(want), err)
	}
	if err := l.ends(); err != nil {
		t.Errorf("exit: %v\n%s", err, l.log())
	}
	out, err := exec.Command("larder", "store", "check", "--data", l.file("data")).CombinedOutput()
	if err != nil {
		t.Errorf("store check: %v\n%s", err, out)
	}
}

// A download that takes longer than limits.drain is cut off; the node ends in
// order all the same.
func TestDrainGivesUp(t *testing.T) {
	reg := npmtest.New()
	reg.Add(npmtest.Package{Name: "large", Version: "1.0.0", Files: map[string]string{"data.bin": string(numbered(8))}})
	l := live(t, reg, "[limits]\ndrain = \"100ms\"\n")
	hang, release := formattest.HangBody(200 << 10)
	defer release()
	l.upstream.Break(formattest.OnSuffix(".tgz"), hang)
	resp, err := http.Get(l.base + "/npm/main/large/-/large-1.0.0.tgz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := l.node.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := l.ends(); err != nil {
		t.Errorf("exit: %v\n%s", err, l.log())
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("half a file came as a whole one")
	}
	if !strings.Contains(l.log(), "event=drain_cut") {
		t.Errorf("the log does not say that a request was cut off:\n%s", l.log())
	}
}

// SIGHUP changes rules, mode and connections, says which keys need a restart,
// and changes nothing if the file has a fault.
func TestReload(t *testing.T) {
	reg := npmtest.Default()
	l := live(t, reg, "")
	get := func(path string, want int, part string) {
		t.Helper()
		if status, body := l.get(path); status != want || !strings.Contains(body, part) {
			t.Fatalf("%s: %d %.300s, want %d with %q\n%s", path, status, body, want, part, l.log())
		}
	}
	get("/npm/main/tiny-left", 200, "tiny-left-1.0.0.tgz")
	get("/npm/main/tiny-left/-/tiny-left-1.0.0.tgz", 200, "")

	block := "[[block]]\nformat = \"npm\"\nname = \"tiny-left\"\nversions = [\"1.0.0\"]\nreason = \"stolen token\"\n"
	l.write(block)
	l.reload()
	get("/npm/main/tiny-left/-/tiny-left-1.0.0.tgz", 403, "stolen token")

	for _, fault := range []string{"mode = \"offlin\"\n", "lisen = 1\n", "mode = \"offline", "[limits]\ndrain = \"7days\"\n", "[[block]]\nformat = \"nope\"\n"} {
		l.write(fault)
		l.reload()
		get("/npm/main/tiny-left/-/tiny-left-1.0.0.tgz", 403, "stolen token")
		get("/npm/main/tiny-right", 200, "tiny-right-1.0.0.tgz")
	}
	if n := strings.Count(l.log(), "event=reload_failed"); n != 5 {
		t.Errorf("%d refusals in the log, want 5:\n%s", n, l.log())
	}
	if err := os.Remove(l.file("larder.toml")); err != nil {
		t.Fatal(err)
	}
	l.reload()
	get("/npm/main/tiny-left/-/tiny-left-1.0.0.tgz", 403, "stolen token")

	l.write("mode = \"offline\"\n")
	l.reload()
	get("/npm/main/tiny-left/-/tiny-left-1.0.0.tgz", 200, "")
	asked := l.upstream.Total()
	get("/npm/main/@tiny%2fcore", 404, "not held here")
	if l.upstream.Total() != asked {
		t.Error("an upstream was asked offline")
	}

	// Another registry, another listener, another data directory: the first is
	// followed, the others need a restart and are named.
	second := npmtest.New()
	second.Add(npmtest.Package{Name: "elsewhere", Version: "1.0.0"})
	was := l.upstream
	l.upstream = formattest.Serve(t, second)
	l.write("listen = \"127.0.0.1:1\"\ndata = \"other\"\ndomain = \"another\"\n[cache]\nmemory = \"64MiB\"\n[limits]\ndrain = \"1s\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\naccess = \"off\"\n")
	l.reload()
	get("/npm/main/elsewhere", 200, "elsewhere-1.0.0.tgz")
	if was.Total() != asked {
		t.Error("the former registry was asked")
	}
	log := l.log()
	log = log[strings.LastIndex(log, "event=reloaded"):]
	for _, key := range []string{"domain", "cache", "limits", "log.format", "log.access"} {
		if !strings.Contains(log, key) {
			t.Errorf("the log does not name %q as needing a restart: %.300s", key, log)
		}
	}
	if _, err := os.Stat(l.file("other")); err == nil {
		t.Error("the other data directory was made")
	}
	get("/-/readyz", 200, "")
}

// Two nodes in one process share nothing.
func TestTwoNodes(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	bases := make([]string, 2)
	for i, name := range []string{"ours", "theirs"} {
		reg := npmtest.New()
		reg.Add(npmtest.Package{Name: name, Version: "1.0.0"})
		reg.Add(npmtest.Package{Name: "same", Version: fmt.Sprintf("%d.0.0", i+1)})
		l := &lived{t: t, dir: t.TempDir(), upstream: formattest.Serve(t, reg)}
		l.write("")
		sf := serveFlags{config: l.file("larder.toml"), data: l.file("data"), listen: "127.0.0.1:0"}
		cfg, err := sf.load()
		if err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		wg.Go(func() {
			defer w.Close()
			if err := serve(ctx, cfg, sf, stdio{nil, w, io.Discard}); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, r)
		bases[i] = strings.TrimPrefix(strings.TrimSpace(line), "larder: serving ")
	}
	for i, c := range []struct{ own, other string }{{"ours", "theirs"}, {"theirs", "ours"}} {
		for range 2 {
			body, err := get(ctx, bases[i]+"/npm/main/"+c.own)
			if err != nil || !strings.Contains(string(body), bases[i]+"/npm/main/"+c.own+"/-/") {
				t.Errorf("node %d: %v %.200s", i, err, body)
			}
			if _, err := get(ctx, bases[i]+"/npm/main/"+c.other); err == nil {
				t.Errorf("node %d knows the other's package", i)
			}
			body, err = get(ctx, bases[i]+"/npm/main/same")
			if want := fmt.Sprintf("same-%d.0.0.tgz", i+1); err != nil || !strings.Contains(string(body), want) {
				t.Errorf("node %d: %v %.200s, want %s", i, err, body, want)
			}
		}
	}
}

// A start that cannot succeed says why in one line and exits with status 1.
func TestStartErrors(t *testing.T) {
	l := live(t, npmtest.Default(), "")
	port := strings.TrimPrefix(l.base, "http://")
	if err := os.WriteFile(l.file("plain"), []byte("a file"), 0o644); err != nil {
		t.Fatal(err)
	}
	sealed := l.file("sealed")
	if err := os.Mkdir(sealed, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		sealed = "/proc/larder" // nobody may write there, root neither
	}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"port taken", []string{"--listen", port, "--data", "new"}, []string{"listen", port, "in use"}},
		{"address of another machine", []string{"--listen", "192.0.2.1:80", "--data", "new", "--config", "open.toml"}, []string{"192.0.2.1:80"}},
		{"unwritable data directory", []string{"--listen", "127.0.0.1:0", "--data", filepath.Join(sealed, "data")}, []string{"data"}},
		{"data below a file", []string{"--listen", "127.0.0.1:0", "--data", "plain/data"}, []string{"plain"}},
		{"data is a file", []string{"--listen", "127.0.0.1:0", "--data", "plain"}, []string{"plain"}},
		{"data in use", []string{"--listen", "127.0.0.1:0", "--data", "data"}, []string{"data", "another"}},
		{"no such config", []string{"--config", "none.toml"}, []string{"none.toml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(l.file("open.toml"), []byte("[access]\nanonymous = \"read\"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"serve"}, c.args...)
			if !strings.Contains(strings.Join(args, " "), "--config") {
				args = append(args, "--config", "larder.toml")
			}
			cmd := exec.Command("larder", args...)
			cmd.Dir = l.dir
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); err == nil || code != exitWrong {
				t.Errorf("exit %d (%v)", code, err)
			}
			text := strings.TrimSpace(stderr.String())
			if strings.Contains(text, "\n") || !strings.HasPrefix(text, "larder: ") || stdout.Len() > 0 {
				t.Errorf("want one line, got %q and on standard output %q", text, stdout.String())
			}
			for _, part := range c.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q does not say %q", text, part)
				}
			}
		})
	}
	if status, _ := l.get("/-/readyz"); status != 200 {
		t.Errorf("the running node: %d", status)
	}
}

// A header that does not end is given up, one that is too large is refused.
func TestHeaderLimits(t *testing.T) {
	l := live(t, npmtest.Default(), "[limits]\nrequest_header_timeout = \"100ms\"\n")
	send := func(text string) string {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go io.WriteString(conn, text)
		got, _ := io.ReadAll(conn) // ends when the node closes, not before
		return string(got)
	}
	for _, slow := range []string{"", "GET /npm/main/tiny-left HTTP/1.1\r\nHost: a\r\nX-A: b", "GET /npm/ma"} {
		if got := send(slow); strings.Contains(got, " 200 ") {
			t.Errorf("%q: %q", slow, got)
		}
	}
	if got := send("GET /npm/main/tiny-left HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("a", 128<<10) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("oversize header: %.100q", got)
	}
	if status, _ := l.get("/npm/main/tiny-left"); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}
