package upstream

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// Whatever a registry writes into Location, what is followed is http or https,
// carries no user information, has one spelling that parses back to the same
// place, is permitted, and does not leave https.
func FuzzLocation(f *testing.F) {
	for _, s := range forbiddenPlaces() {
		f.Add(s, false)
	}
	for _, s := range []string{"q", "/q", "? ", "?é", "a b", "é?%", "//files.example/x", "https://files.example:8443/x?y#z", "HTTP://FILES.example./", "?q", "", "..", "https://[2606:2800::1]/",
		"https://93.184.216.34:443/", "http://registry.example:80/"} {
		f.Add(s, true)
	}
	w := newWorld(f)
	links := map[bool]*link{}
	for _, tls := range []bool{false, true} {
		base := "http://registry.example/a/b"
		if tls {
			base = "https://registry.example/a/b"
		}
		c, err := w.open(Config{Connections: []Connection{{Name: "r", URL: base}}})
		if err != nil {
			f.Fatal(err)
		}
		links[tls] = c.state.Load().links["r"]
	}
	f.Fuzz(func(t *testing.T, location string, tls bool) {
		l := links[tls]
		u, o, err := l.redirect(l.base, l.own, location)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("%q: error holds control characters: %q", location, err)
			}
			redact(u)
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Fragment != "" || tls && u.Scheme != "https" {
			t.Fatalf("%q leads to %#v", location, u)
		}
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q leads to %q, which does not parse: %v", location, u, err)
		}
		o2, err := originOf(again)
		if err != nil || o2 != o {
			t.Fatalf("%q: %v parses back as %v, %v", location, o, o2, err)
		}
		if a, ok := o.literal(); ok && !l.fence.public(a) {
			t.Fatalf("%q leads to %v", location, a)
		} else if !ok && (insideName(o.host) || looksNumeric(o.host)) {
			t.Fatalf("%q leads to host %q", location, o.host)
		}
		for _, r := range u.String() {
			if r <= ' ' || r == '\\' || r >= 0x7f {
				t.Fatalf("%q leads to %q", location, u)
			}
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "1", "120", "-1", "1.5", "99999999999999999999", "Sat, 01 Jan 2000 00:02:00 GMT", "Saturday, 01-Jan-00 00:02:00 GMT",
		"Sat Jan  1 00:02:00 2000", "Sat, 01 Jan 9999 00:00:00 GMT", " 5 ", "5s", "0x5", "\x00"} {
		f.Add(s)
	}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now); d < 0 || d > maxRetryAfter {
			t.Errorf("retryAfter(%q) = %v", s, d)
		}
	})
}

func FuzzHostRule(f *testing.F) {
	for _, s := range []string{"*", "*.cdn.example", "a.example:80", "[::1]:*", "::1", "a:b:c", "[a", "*.", ":", "xn--a.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseHostRule(s)
		if err != nil {
			return
		}
		if r.host == "" && r.suffix == "" && !r.any {
			t.Fatalf("parseHostRule(%q) = %+v matches nothing", s, r)
		}
		if ok, named := r.match(origin{"http", "127.0.0.1", 80}); named && (!ok || r.host != "127.0.0.1") {
			t.Fatalf("parseHostRule(%q) names loopback", s)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "99999999999999999999": maxRetryAfter, "301": maxRetryAfter,
		"-7": 0, "7.5": 0, "seven": 0,
		"Sat, 01 Jan 2000 00:00:30 GMT": 30 * time.Second, "Fri, 31 Dec 1999 00:00:00 GMT": 0, "Sun, 01 Jan 2040 00:00:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n, want := range []time.Duration{100, 200, 400, 800, 1600, 2000, 2000} {
		want *= time.Millisecond
		if lo, hi := backoff(n, 0), backoff(n, 0.999999); lo != want/2 || hi < want*99/100 || hi > want {
			t.Errorf("backoff(%d) is %v to %v, want %v to %v", n, lo, hi, want/2, want)
		}
	}
	if d := backoff(1<<30, 1); d > lastBackoff {
		t.Errorf("backoff overflows to %v", d)
	}
}
