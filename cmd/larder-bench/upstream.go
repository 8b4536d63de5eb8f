package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The upstream's manners: what a registry across a wide-area link is like.
const (
	latency = 30 * time.Millisecond
	rate    = 20 << 20 // bytes a second on one connection
)

// upstream is a fake npm and PyPI registry. Packages are made from their names:
// "t-SIZE-N" has one tarball of SIZE bytes; "fat" has 1,500 versions.
type upstream struct {
	srv   *http.Server
	url   string
	giant int64

	mu     sync.Mutex
	counts map[string]int
	docs   map[string][]byte
	fast   bool // no latency, no rate limit
	sums   map[string]sums
	fat    []byte
}

type sums struct{ sri, sha1, sha256 string }

func newUpstream(giant int64) (*upstream, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{url: "http://" + ln.Addr().String(), giant: giant, counts: map[string]int{}, docs: map[string][]byte{}, sums: map[string]sums{}}
	u.srv = &http.Server{Handler: u}
	go u.srv.Serve(ln)
	return u, nil
}

func (u *upstream) close() { u.srv.Close() }

// hurry switches latency and rate limit off, for measurements of larder's own
// cost.
func (u *upstream) hurry(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fast = on
}

func (u *upstream) count(part string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p, c := range u.counts {
		if strings.Contains(p, part) {
			n += c
		}
	}
	return n
}

func (u *upstream) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.counts)
}

// content is the endless pseudo-random body of a name; incompressible.
type content struct {
	rng  *rand.ChaCha8
	left int64
}

func body(name string, size int64) *content {
	return &content{rand.NewChaCha8(sha256.Sum256([]byte(name))), size}
}

func (c *content) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.left)]
	n, _ := c.rng.Read(p)
	c.left -= int64(n)
	return n, nil
}

// sizeOf reads the size out of a name.
func (u *upstream) sizeOf(name string) int64 {
	if name == "giant" {
		return u.giant
	}
	if parts := strings.Split(name, "-"); len(parts) == 3 && parts[0] == "t" {
		n, _ := strconv.ParseInt(parts[1], 10, 64)
		return n
	}
	return 4 << 10
}

func (u *upstream) sumsOf(name string) sums {
	u.mu.Lock()
	s, ok := u.sums[name]
	u.mu.Unlock()
	if ok {
		return s
	}
	h1, h2, h5 := sha1.New(), sha256.New(), sha512.New()
	io.Copy(io.MultiWriter(h1, h2, h5), body(name, u.sizeOf(name)))
	s = sums{"sha512-" + base64.StdEncoding.EncodeToString(h5.Sum(nil)), hex.EncodeToString(h1.Sum(nil)), hex.EncodeToString(h2.Sum(nil))}
	u.mu.Lock()
	u.sums[name] = s
	u.mu.Unlock()
	return s
}

// prepare computes what a package's documents say before anything is measured.
func (u *upstream) prepare(names ...string) {
	for _, n := range names {
		u.sumsOf(n)
	}
}

func (u *upstream) packument(name string) []byte {
	if name == "fat" {
		return u.fatPackument()
	}
	s := u.sumsOf(name)
	return []byte(fmt.Sprintf(`{"_id":%[1]q,"name":%[1]q,"dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":%[1]q,"version":"1.0.0","description":"made for measuring","license":"MIT","main":"index.js","dist":{"integrity":%[2]q,"shasum":%[3]q,"tarball":%[4]q}}},"time":{"created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","1.0.0":"2026-01-01T00:00:00.000Z"}}`,
		name, s.sri, s.sha1, u.url+"/"+name+"/-/"+name+"-1.0.0.tgz"))
}

// fatPackument has 1,500 versions and 3.3 MB, like a popular package after ten
// years.
func (u *upstream) fatPackument() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fat != nil {
		return u.fat
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var b, t bytes.Buffer
	b.WriteString(`{"_id":"fat","name":"fat","dist-tags":{"latest":"1.1499.0"},"versions":{`)
	for i := range 1500 {
		v := fmt.Sprintf("1.%d.0", i)
		if i > 0 {
			b.WriteByte(',')
			t.WriteByte(',')
		}
		var d [64]byte
		for j := range d {
			d[j] = byte(rng.Uint32())
		}
		fmt.Fprintf(&b, `%q:{"name":"fat","version":%q,"description":"A package with very many versions, as a popular one has after ten years of daily builds.","license":"MIT","main":"lib/index.js","types":"lib/index.d.ts","engines":{"node":">=18.%d"},"dependencies":{`, v, v, i%20)
		for k := range 12 {
			if k > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"@fat/part-%02d":"^1.%d.0"`, k, i)
		}
		fmt.Fprintf(&b, `},"scripts":{"build":"tsc -p tsconfig.json","test":"node --test","lint":"eslint src --ext ts --max-warnings 0","prepack":"npm run build"},"repository":{"type":"git","url":"git+https://code.example/fat/fat.git","directory":"packages/fat"},"maintainers":[{"name":"someone","email":"someone@mail.example"},{"name":"another","email":"another@mail.example"}],"keywords":["many","versions","measure"],"_nodeVersion":"22.%d.0","_npmVersion":"11.%d.1","_npmUser":{"name":"someone","email":"someone@mail.example"},"gitHead":"%x","readmeFilename":"README.md","_hasShrinkwrap":false,"dist":{"integrity":"sha512-%s","shasum":"%x","tarball":"%s/fat/-/fat-%s.tgz","fileCount":%d,"unpackedSize":%d,"signatures":[{"keyid":"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","sig":"%s"}]}}`,
			i%20, i%9, d[:20], base64.StdEncoding.EncodeToString(d[:]), d[20:40], u.url, v, 40+i%100, 900000+i, base64.StdEncoding.EncodeToString(d[:]))
		fmt.Fprintf(&t, `%q:"2024-%02d-%02dT%02d:00:00.000Z"`, v, 1+i/130, 1+i%28, i%24)
	}
	fmt.Fprintf(&b, `},"time":{"created":"2024-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z",%s},"license":"MIT","readme":%q}`, t.String(), strings.Repeat("All about fat. ", 600))
	u.fat = b.Bytes()
	return u.fat
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.counts[r.Method+" "+r.URL.Path]++
	fast := u.fast
	u.mu.Unlock()
	if !fast {
		time.Sleep(latency)
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case strings.HasPrefix(path, "simple/"):
		u.simple(w, strings.Trim(strings.TrimPrefix(path, "simple/"), "/"))
	case strings.HasPrefix(path, "files/"):
		file := strings.TrimPrefix(path, "files/")
		name, _, _ := strings.Cut(file, "-1.0.0")
		name = strings.ReplaceAll(name, "_", "-")
		u.send(w, r, name, fast)
	case strings.HasSuffix(path, ".tgz"):
		name, _, _ := strings.Cut(path, "/-/")
		u.send(w, r, name, fast)
	default:
		doc := u.packument(path)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Etag", fmt.Sprintf(`"%d"`, len(doc)))
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
		throttle(w, bytes.NewReader(doc), fast)
	}
}

func (u *upstream) simple(w http.ResponseWriter, name string) {
	s := u.sumsOf(name)
	file := strings.ReplaceAll(name, "-", "_") + "-1.0.0-py3-none-any.whl"
	doc := fmt.Sprintf("<!DOCTYPE html><html><body><a href=\"%s/files/%s#sha256=%s\">%s</a></body></html>", u.url, file, s.sha256, file)
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	io.WriteString(w, doc)
}

func (u *upstream) send(w http.ResponseWriter, r *http.Request, name string, fast bool) {
	size := u.sizeOf(name)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return
	}
	throttle(w, body(name, size), fast || name == "giant")
}

// throttle copies at the rate of one wide-area connection.
func throttle(w io.Writer, r io.Reader, fast bool) {
	buf := make([]byte, 64<<10)
	start := time.Now()
	var sent int64
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			sent += int64(n)
			if !fast {
				time.Sleep(time.Until(start.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
			}
		}
		if err != nil {
			return
		}
	}
}
