package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
	"larder/proxy/listener"
)

// authorityIn makes an authority with a certificate for the loopback.
func authorityIn(t testing.TB, dir string, now time.Time) (listener.Directory, *x509.CertPool) {
	t.Helper()
	d := listener.DirectoryAt(filepath.Join(dir, "tls"))
	if _, err := (authorityFlags{ca: true}).create(d, now); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(d.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return d, pool
}

func tlsTable(d listener.Directory) string {
	return fmt.Sprintf("[tls]\ncert_file = %s\nkey_file = %s\n", quote(d.Cert), quote(d.Key))
}

// served runs a node in this process until the end of the test, over a registry
// of its own, and returns its base URL.
func served(tb testing.TB, reg http.Handler, head string) string {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	tb.Cleanup(wg.Wait)
	tb.Cleanup(cancel)
	dir := tb.TempDir()
	text := fmt.Sprintf("%s\n[[connection]]\nname = \"public:npm\"\nformat = \"npm\"\nurl = \"%s/\"\nmetadata_ttl = \"1h\"\n[[repository]]\nname = \"main\"\nconnection = \"public:npm\"\n",
		head, formattest.Serve(tb, reg).URL)
	sf := serveFlags{config: filepath.Join(dir, "larder.toml"), data: filepath.Join(dir, "data"), listen: "127.0.0.1:0"}
	if err := os.WriteFile(sf.config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	cfg, err := sf.load()
	if err != nil {
		tb.Fatal(err)
	}
	r, w := io.Pipe()
	wg.Go(func() {
		defer w.Close()
		if err := serve(ctx, cfg, sf, stdio{nil, w, io.Discard}); err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "larder: serving ")
	if !ok {
		tb.Fatalf("the ready line is %q", line)
	}
	return base
}

// protocols are clients that speak one protocol each, by its name.
func protocols(tb testing.TB, pool *x509.CertPool) map[string]http.RoundTripper {
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	three := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	tb.Cleanup(func() { three.Close() })
	return map[string]http.RoundTripper{
		"HTTP/1.1": &http.Transport{Protocols: one, TLSClientConfig: &tls.Config{RootCAs: pool}},
		"HTTP/2.0": &http.Transport{Protocols: two, TLSClientConfig: &tls.Config{RootCAs: pool}},
		"HTTP/3.0": three,
	}
}

// whole sends a GET and reads the answer to its end.
func whole(tb testing.TB, tr http.RoundTripper, url string) (*http.Response, string) {
	tb.Helper()
	rq, err := http.NewRequestWithContext(tb.Context(), "GET", url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := tr.RoundTrip(rq)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("%s: %s %v", url, resp.Status, err)
	}
	return resp, string(body)
}

// Two nodes with TLS in one process: each answers by all three protocols with
// its own certificate, links lead back by https, and both end in order.
func TestTwoNodesWithTLS(t *testing.T) {
	for _, name := range []string{"ours", "theirs"} {
		reg := npmtest.New()
		reg.Add(npmtest.Package{Name: name, Version: "1.0.0"})
		d, pool := authorityIn(t, t.TempDir(), time.Now())
		base := served(t, reg, tlsTable(d))
		if !strings.HasPrefix(base, "https://127.0.0.1:") {
			t.Errorf("the base is %s", base)
		}
		for proto, tr := range protocols(t, pool) {
			for range 2 {
				resp, doc := whole(t, tr, base+"/npm/main/"+name)
				if link := base + "/npm/main/" + name + "/-/" + name + "-1.0.0.tgz"; resp.Proto != proto || !strings.Contains(doc, link) {
					t.Errorf("by %s, wanted %s, and links that lead back: %.300s", resp.Proto, proto, doc)
				} else {
					whole(t, tr, link)
				}
			}
		}
	}
}

// BenchmarkTLS is a warm document and a warm file of 1 MiB from a whole node:
// plain HTTP, then the three protocols over TLS.
func BenchmarkTLS(b *testing.B) {
	reg := npmtest.New()
	reg.Add(npmtest.Package{Name: "large", Version: "1.0.0", Files: map[string]string{"data.bin": string(numbered(8))}})
	d, pool := authorityIn(b, b.TempDir(), time.Now())
	quiet := "[log]\naccess = \"off\"\nlevel = \"error\"\n"
	secure, plain := served(b, reg, tlsTable(d)+quiet), served(b, reg, quiet)
	clients := protocols(b, pool)
	clients["HTTP"] = &http.Transport{}
	for _, path := range []string{"large", "large/-/large-1.0.0.tgz"} {
		for _, proto := range slices.Sorted(maps.Keys(clients)) {
			url := secure + "/npm/main/" + path
			if proto == "HTTP" {
				url = plain + "/npm/main/" + path
			}
			_, body := whole(b, clients[proto], url)
			b.Run(path+"/"+proto, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					whole(b, clients[proto], url)
				}
			})
		}
	}
}

// SIGHUP follows other files, keeps the former certificate when the new one is
// broken, applies the rest, and names what needs a restart.
func TestReloadWithTLS(t *testing.T) {
	dir := t.TempDir()
	d, pool := authorityIn(t, dir, time.Now())
	l := live(t, npmtest.Default(), tlsTable(d)+"http3 = false\n")
	serial := func() string {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr}).Get(l.base + "/-/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Header.Get("Alt-Svc") != "" {
			t.Error("HTTP/3 is promised though it is off")
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	was := serial()
	l.write(tlsTable(listener.Directory{Cert: d.Cert, Key: d.CAKey}) + "http3 = false\n[log]\nlevel = \"debug\"\n")
	l.reload()
	if serial() != was || !strings.Contains(l.log(), "event=tls_reload_failed") || strings.Contains(l.log(), "event=reload_failed") {
		t.Errorf("after a broken pair:\n%s", l.log())
	}
	if _, err := d.Renew(listener.Names{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	moved := listener.DirectoryAt(filepath.Join(dir, "moved"))
	if err := os.Rename(filepath.Dir(d.Cert), filepath.Dir(moved.Cert)); err != nil {
		t.Fatal(err)
	}
	l.write(tlsTable(moved) + "http3 = true\nmin_version = \"1.3\"\n")
	l.reload()
	if serial() == was {
		t.Errorf("the new files were not followed:\n%s", l.log())
	}
	if log := l.log(); !strings.Contains(log[strings.LastIndex(log, "event=reloaded"):], "tls") {
		t.Errorf("the log does not say that tls needs a restart:\n%s", log)
	}
}

// check reads the files and names the key, the line and the fault.
func TestCheckFiles(t *testing.T) {
	good, _ := authorityIn(t, t.TempDir(), time.Now())
	old, _ := authorityIn(t, t.TempDir(), time.Now().AddDate(-3, 0, 0))
	early, _ := authorityIn(t, t.TempDir(), time.Now().AddDate(0, 0, 2))
	tests := []struct {
		cert, key, want string
	}{
		{good.Cert, good.Key, ""},
		{old.Cert, old.Key, "x.toml:2: tls.cert_file: " + old.Cert + ": the certificate has expired: it ended on "},
		{early.Cert, early.Key, "x.toml:2: tls.cert_file: " + early.Cert + ": the certificate is not valid yet: it begins on "},
		{good.Cert, old.Key, "x.toml:3: tls.key_file: " + old.Key + ": not the key of this certificate"},
		{good.Cert + "x", good.Key, "x.toml:2: tls.cert_file: " + good.Cert + "x: no such file"},
		{good.Cert, good.Key + "x", "x.toml:3: tls.key_file: " + good.Key + "x: no such file"},
	}
	for _, tt := range tests {
		cfg, err := parseConfig("x.toml", []byte(tlsTable(listener.Directory{Cert: tt.cert, Key: tt.key})))
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.checkFiles(time.Now())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("checkFiles = %v, want %q", err, tt.want)
		}
	}
}

// What init writes names the certificate, and nothing else differs.
func TestWithCertificate(t *testing.T) {
	d := listener.DirectoryAt("/etc/lar \"der/tls")
	cfg, err := parseConfig("x.toml", []byte(withCertificate(renderConfig(nil), d)))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig().TLS
	want.CertFile, want.KeyFile = d.Cert, d.Key
	if cfg.TLS != want {
		t.Errorf("tls is %+v, want %+v", cfg.TLS, want)
	}
}

// Every line of trust is one that a shell takes, whatever the path.
func TestTrustLines(t *testing.T) {
	ca := "/srv/it's a larder/ca.pem"
	for _, line := range trustLines(ca, "https://larder.example:5273") {
		if !strings.Contains(line.lines, `/srv/it'\''s a larder/`) {
			t.Errorf("%s: the path is not quoted: %s", line.client, line.lines)
		}
	}
	for _, s := range []string{"", "plain/path-1.pem", "it's", "a b", "$HOME", "`id`", "a\nb", "*"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q became %q, %v", s, out, err)
		}
	}
}

func TestAuthorityFlags(t *testing.T) {
	for flags, ok := range map[authorityFlags]bool{
		{}: true, {ca: true}: true, {renew: true, host: "a"}: true, {ca: true, renew: true}: true,
		{host: "a"}: false, {permit: "a"}: false, {inDir: "a"}: false, {renew: true, permit: "a"}: false,
	} {
		if err := flags.check(); (err == nil) != ok {
			t.Errorf("%+v: %v", flags, err)
		}
	}
	for flags, want := range map[authorityFlags]string{
		{}: "http://127.0.0.1:5273", {ca: true}: "https://127.0.0.1:5273", {ca: true, host: "*.a,b"}: "https://127.0.0.1:5273",
		{ca: true, host: "larder.example, 10.0.0.1"}: "https://larder.example:5273", {ca: true, host: "::1"}: "https://[::1]:5273",
	} {
		if got := flags.base(); got != want {
			t.Errorf("%+v: base %s, want %s", flags, got, want)
		}
	}
	if _, err := (authorityFlags{host: "https://a"}).create(listener.DirectoryAt(t.TempDir()), time.Now()); err == nil {
		t.Error("a URL was taken for a host")
	}
	if got := words("a, b,,c "); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("words are %v", got)
	}
}
