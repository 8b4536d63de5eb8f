package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The *Paths* group of the bad-input list: every spelling by which a path could
// leave its place or mean two things is refused before any format sees it.
func TestSplitEndpointRefuses(t *testing.T) {
	for _, p := range []string{
		"/npm/main/..%2fx", "/npm/main/../x", "/npm/main/%2e%2e/x", "/npm/main/%2E%2e%2fx", "/npm/main/.%2e/x",
		"/npm/main/%252e%252e/x", "/npm/main/%252fetc", "/npm/main/%255c", "/npm/main/x%2500",
		"/npm/main/%2F%2F..%2F..%2Fetc%2Fpasswd", "/npm/main/a%2f%2fb", "/npm/main/./x", "/npm/main/%2e/x",
		`/npm/main/a\b`, "/npm/main/a%5cb", "/npm/main/a%00b", "/npm/main/a%0ab", "/npm/main/a%0d%0ab", "/npm/main/%7f", "/npm/main/%c2%85",
		"/npm/main/%c0%ae%c0%ae/x", "/npm/main/%ff", "/npm/main/%ed%a0%80", "/npm/main/a//b", "/npm//main/x", "//npm/main/x",
		"/npm/main/a./b", "/npm/main/a%20/b", "/npm/main/%20a", "/npm/main/a%20", "/npm/main/a.", "/npm/main/%zz", "/npm/main/%", "/npm/main/%2",
		"/npm/main/" + strings.Repeat("a", 9<<10), "/npm%2fmain/x",
	} {
		if ep, err := splitEndpoint(p); err == nil {
			t.Errorf("%.80q: accepted as %+v", p, ep)
		}
	}
}

func TestSplitEndpoint(t *testing.T) {
	for _, c := range []struct{ path, format, domain, repo, prefix, raw, segments string }{
		{"/", "", "", "", "", "", ""},
		{"/npm/main/left-pad", "npm", "", "main", "/npm/main", "left-pad", "left-pad"},
		{"/npm/main/", "npm", "", "main", "/npm/main", "", ""},
		{"/npm/main", "npm", "", "main", "/npm/main", "", ""},
		{"/npm/main/@s%2fn", "npm", "", "main", "/npm/main", "@s%2fn", "@s/n"},
		{"/npm/main/@s/n/-/n-1.0.0.tgz", "npm", "", "main", "/npm/main", "@s/n/-/n-1.0.0.tgz", "@s|n|-|n-1.0.0.tgz"},
		{"/pypi/d/main-000000000000/team/simple/x/", "pypi", "main-000000000000", "team", "/pypi/d/main-000000000000/team", "simple/x/", "simple|x|"},
		{"/pypi/d/simple/x/", "pypi", "", "d", "/pypi/d", "simple/x/", "simple|x|"},
		{"/go/main/github.com/%21burnt%21sushi/toml/@v/list", "go", "", "main", "/go/main", "github.com/%21burnt%21sushi/toml/@v/list", "github.com|!burnt!sushi|toml|@v|list"},
		{"/-/why", "-", "", "", "", "why", "why"},
		{"/maven/main/a/b/1.0%2B1/b-1.0%2B1.jar", "maven", "", "main", "/maven/main", "a/b/1.0%2B1/b-1.0%2B1.jar", "a|b|1.0+1|b-1.0+1.jar"},
	} {
		ep, err := splitEndpoint(c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		got := strings.Join(ep.segments, "|")
		if ep.format != c.format || ep.domain != c.domain || ep.repo != c.repo || ep.prefix != c.prefix || ep.raw != c.raw || got != c.segments {
			t.Errorf("%s: got %q %q %q %q %q %q", c.path, ep.format, ep.domain, ep.repo, ep.prefix, ep.raw, got)
		}
	}
}

func FuzzSplitEndpoint(f *testing.F) {
	for _, s := range []string{"/npm/main/x", "/npm/main/@s%2fn", "/a/d/main-000000000000/r/x", "/%2e%2e/x", "//", "/npm/main/%252e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		ep, err := splitEndpoint(path)
		if err != nil {
			return
		}
		for _, s := range ep.segments {
			for _, part := range strings.Split(s, "/") {
				if part == ".." || part == "." || strings.ContainsAny(part, "\\\x00\n\r") {
					t.Fatalf("%q: segment %q got through", path, s)
				}
			}
		}
	})
}

func TestParseRange(t *testing.T) {
	for _, c := range []struct {
		in     string
		off, n int64
		status int
	}{
		{"bytes=0-0", 0, 1, 206}, {"bytes=0-", 0, 100, 206}, {"bytes=10-19", 10, 10, 206}, {"bytes=90-200", 90, 10, 206}, {"bytes=-5", 95, 5, 206},
		{"bytes=-200", 0, 100, 206}, {"bytes=100-", 0, 0, 416}, {"bytes=-0", 0, 0, 416},
		{"bytes=99999999999999999999-", 0, 0, 416}, {"bytes=0-99999999999999999999", 0, 100, 206},
		{"bytes=5-1", 0, 100, 200}, {"bytes=a-b", 0, 100, 200}, {"items=0-1", 0, 100, 200}, {"bytes=0-1,3-4", 0, 100, 200}, {"bytes=", 0, 100, 200},
		{"bytes=--5", 0, 100, 200}, {"bytes=+1-2", 0, 100, 200},
		{"bytes=" + strings.Repeat("0-0,", 1000) + "1-1", 0, 100, 200},
	} {
		if off, n, st := parseRange(c.in, 100); off != c.off || n != c.n || st != c.status {
			t.Errorf("%.40s: got %d %d %d, want %d %d %d", c.in, off, n, st, c.off, c.n, c.status)
		}
	}
}

func TestNotModified(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	for _, c := range []struct {
		h    http.Header
		etag string
		want bool
	}{
		{http.Header{}, `"a"`, false},
		{http.Header{"If-None-Match": {`"a"`}}, `"a"`, true},
		{http.Header{"If-None-Match": {`"b", W/"a"`}}, `"a"`, true},
		{http.Header{"If-None-Match": {`*`}}, `"a"`, true},
		{http.Header{"If-None-Match": {`"b"`}, "If-Modified-Since": {at.Format(http.TimeFormat)}}, `"a"`, false},
		{http.Header{"If-None-Match": {`"a"`}}, ``, false},
		{http.Header{"If-Modified-Since": {at.Format(http.TimeFormat)}}, ``, true},
		{http.Header{"If-Modified-Since": {at.Add(-time.Second).Format(http.TimeFormat)}}, ``, false},
		{http.Header{"If-Modified-Since": {"yesterday"}}, ``, false},
	} {
		if got := notModified(c.h, c.etag, at); got != c.want {
			t.Errorf("%v %s: got %v", c.h, c.etag, got)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for in, want := range map[string]bool{"gzip": true, "gzip, deflate, br": true, "identity": false, "deflate, gzip;q=1.0, *;q=0.5": true,
		"gzip;q=0": false, "gzip; q=0.000": false, "br;q=1, *": true, "": false, "GZIP": true, "x-gzip": false} {
		if got := acceptsGzip(http.Header{"Accept-Encoding": {in}}); got != want {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestOrigin(t *testing.T) {
	proxyNet := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		name, host, remote string
		header             http.Header
		ext                []string
		want               string
	}{
		{"own", "node:5273", "192.0.2.1:1", nil, nil, "http://node:5273"},
		{"spoof from a stranger", "node", "192.0.2.1:1", http.Header{"X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"}}, nil, "http://node"},
		{"trusted", "node", "10.1.1.1:1", http.Header{"X-Forwarded-Host": {"pkg.example"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Prefix": {"/art/"}}, nil, "https://pkg.example/art"},
		{"rfc 7239", "node", "10.1.1.1:1", http.Header{"Forwarded": {`for=1.2.3.4;proto=https;host="pkg.example:8443"`}}, nil, "https://pkg.example:8443"},
		{"trusted but broken host", "node", "10.1.1.1:1", http.Header{"X-Forwarded-Host": {`a"><script>`}}, nil, "http://node"},
		{"trusted but wrong scheme", "node", "10.1.1.1:1", http.Header{"X-Forwarded-Proto": {"javascript"}}, nil, "http://node"},
		{"prefix with dots", "node", "10.1.1.1:1", http.Header{"X-Forwarded-Prefix": {"/../x"}}, nil, "http://node"},
		{"external", "whatever", "192.0.2.1:1", nil, []string{"https://a.example", "https://b.example/x"}, "https://a.example"},
		{"external by host", "b.example", "192.0.2.1:1", nil, []string{"https://a.example", "https://b.example/x"}, "https://b.example/x"},
		{"bad host", `a"b`, "192.0.2.1:1", nil, nil, ""},
		{"bad host 2", `a/b`, "192.0.2.1:1", nil, nil, ""},
		{"port beyond 65535", "node:99999", "192.0.2.1:1", nil, nil, ""},
		{"open bracket", "[::1", "192.0.2.1:1", nil, nil, ""},
		{"bare ipv6", "::1", "192.0.2.1:1", nil, nil, ""},
		{"brackets around a name", "[node]:80", "192.0.2.1:1", nil, nil, ""},
		{"ipv6 without a port", "[::1]", "192.0.2.1:1", nil, nil, "http://[::1]"},
		{"ipv6", "[::1]:5273", "192.0.2.1:1", nil, nil, "http://[::1]:5273"},
	} {
		h := c.header
		if h == nil {
			h = http.Header{}
		}
		x := &exchange{r: &http.Request{Host: c.host, RemoteAddr: c.remote, Header: h}, site: &Site{ExternalURLs: c.ext, TrustedProxies: proxyNet}}
		got, ok := x.origin()
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s: got %q %v, want %q", c.name, got, ok, c.want)
		}
	}
}

func TestClientSecret(t *testing.T) {
	for _, c := range []struct {
		h    http.Header
		want string
		sent bool
	}{
		{http.Header{}, "", false},
		{http.Header{"Authorization": {"Bearer tok"}}, "tok", true},
		{http.Header{"Authorization": {"Basic YXdzOnRvaw=="}}, "tok", true},
		{http.Header{"Authorization": {"tok\r\n"}}, "tok", true},
		{http.Header{"X-Nuget-Apikey": {"tok"}}, "tok", true},
		{http.Header{"Authorization": {"Digest x"}}, "", true},
		{http.Header{"Authorization": {"Basic !!!"}}, "", true},
	} {
		if got, sent := clientSecret(c.h); got != c.want || sent != c.sent {
			t.Errorf("%v: got %q %v", c.h, got, sent)
		}
	}
}
