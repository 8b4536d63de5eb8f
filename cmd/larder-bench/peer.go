package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// peer is one server under measurement.
type peer struct {
	name string
	url  string // base below which the registry's paths lie
	cmd  *exec.Cmd
	log  *os.File
}

func build(ctx context.Context, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "larder/cmd/larder")
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd.Run()
}

func freePort() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// start runs a server in its own process group and waits until it answers.
func start(c config, name, url string, args ...string) (*peer, error) {
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if name == "proxpi" {
		cmd.Env = os.Environ()
	}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &peer{name: name, url: url, cmd: cmd, log: log}
	for range 200 {
		conn, err := net.Dial("tcp", strings.Split(strings.TrimPrefix(url, "http://"), "/")[0])
		if err == nil {
			conn.Close()
			return p, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s does not answer; see %s", name, log.Name())
}

func (p *peer) stop() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-done
	}
	p.log.Close()
}

// pids are the processes of the peer's group.
func (p *peer) pids() []int {
	out := []int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if pg, err := syscall.Getpgid(pid); err == nil && pg == p.cmd.Process.Pid {
			out = append(out, pid)
		}
	}
	return out
}

// cpu is the user and system time of the group so far.
func (p *peer) cpu() time.Duration {
	var ticks int64
	for _, pid := range p.pids() {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		f := strings.Fields(rest)
		if len(f) > 12 {
			u, _ := strconv.ParseInt(f[11], 10, 64)
			s, _ := strconv.ParseInt(f[12], 10, 64)
			ticks += u + s
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// peak is the largest resident size that the group's main process had, bytes.
func (p *peer) peak() int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// larder starts a node on an empty store.
func larder(c config, up *upstream, memory string) (*peer, error) {
	dir, err := os.MkdirTemp(c.dir, "node-")
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort())
	cfg := fmt.Sprintf(`listen = %q
data = %q
[cache]
memory = %q
[log]
access = "off"
[[connection]]
name = "npm"
format = "npm"
url = "%[4]s/"
metadata_ttl = "1h"
[[connection]]
name = "pypi"
format = "pypi"
url = "%[4]s/simple/"
metadata_ttl = "1h"
[[repository]]
name = "npm-store"
connection = "npm"
[[repository]]
name = "pypi-store"
connection = "pypi"
[[repository]]
name = "main"
upstreams = ["npm-store", "pypi-store"]
`, addr, filepath.Join(dir, "data"), memory, up.url)
	file := filepath.Join(dir, "larder.toml")
	if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
		return nil, err
	}
	return start(c, "larder", "http://"+addr, c.larder, "serve", "--config", file)
}

// nginx starts the generic cache: the recipe a person would write by hand.
func nginx(c config, up *upstream) (*peer, error) {
	if _, err := exec.LookPath(c.nginx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort())
	cfg := fmt.Sprintf(`daemon off;
user root;
worker_processes auto;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  proxy_cache_path %[1]s/cache keys_zone=z:50m max_size=20g inactive=1d;
  server {
    listen %[2]s;
    location / {
      proxy_pass %[3]s;
      proxy_cache z;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 5s;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`, dir, addr, up.url)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
		return nil, err
	}
	return start(c, "nginx", "http://"+addr, c.nginx, "-c", file, "-p", dir)
}

// verdaccio starts the npm peer.
func verdaccio(c config, up *upstream) (*peer, error) {
	if _, err := exec.LookPath(c.verdaccio); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.dir, "verdaccio-")
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort())
	cfg := fmt.Sprintf(`storage: %[1]s/storage
auth:
  htpasswd:
    file: %[1]s/htpasswd
uplinks:
  up:
    url: %[2]s/
    maxage: 1h
    cache: true
packages:
  '**':
    access: $all
    proxy: up
log: { type: stdout, format: pretty, level: fatal }
`, dir, up.url)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
		return nil, err
	}
	return start(c, "verdaccio", "http://"+addr, c.verdaccio, "-c", file, "-l", addr)
}

// get fetches once and fails on anything but 200.
func get(url string, header ...string) (int64, error) {
	rq, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		rq.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(rq)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := discardAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return n, err
}

// serveBare is the yardstick for what net/http itself can do: a body from
// memory with a fixed header, and no other work.
func serveBare(addr string) error {
	var mu sync.Mutex
	bodies := map[string][]byte{}
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/"), 10, 64)
		if err != nil || n > 64<<20 {
			http.NotFound(w, r)
			return
		}
		mu.Lock()
		b := bodies[r.URL.Path]
		if b == nil {
			b, _ = io.ReadAll(body("bare", n))
			bodies[r.URL.Path] = b
		}
		mu.Unlock()
		w.Header()["Content-Type"] = []string{"application/octet-stream"}
		w.Header()["Content-Length"] = []string{strconv.FormatInt(n, 10)}
		w.Write(b)
	}))
}

// bareServer starts serveBare in a process of its own.
func bareServer(c config) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort())
	return start(c, "bare", "http://"+addr, self, "-bare", addr)
}

// selfCPU is the processor time of this process so far.
func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
