package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Every place here must be refused, as a redirect and as a URL in metadata, with
// nothing dialled but the registry.
func forbiddenPlaces() []string {
	return []string{
		"http://127.0.0.1/x", "http://127.0.0.1:8500/x", "http://localhost/x", "http://LOCALHOST./x", "http://a.localhost/x",
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/x", "http://172.16.0.1/", "http://172.31.255.255/",
		"http://192.168.1.1/", "http://100.64.0.1/", "http://0.0.0.0/", "http://0/", "http://255.255.255.255/", "http://224.0.0.1/",
		"http://198.18.0.1/", "http://192.0.0.192/",
		"http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/x", "http://[::ffff:7f00:1]/", "http://[::ffff:169.254.169.254]/",
		"http://[0:0:0:0:0:ffff:10.0.0.1]/", "http://[::127.0.0.1]/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/",
		"http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/", "http://[fec0::1]/",
		"http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/", "http://[2001:0:1::1]/",
		"http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001/", "http://0177.0.0.1/", "http://127.1/",
		"http://127.0.1/", "http://1.1.1.0x1/", "http://127.0.0.1./",
		"http://%31%32%37.0.0.1/", "http://１２７.0.0.1/", "http://ⓛocalhost/", "http://127。0。0。1/",
		"http://metadata/computeMetadata/", "http://metadata.google.internal/", "http://nas.local/", "http://router.home.arpa/", "http://wiki.corp/",
		"http://rebound.example/x", "http://inside.example/x", "http://mapped.example/x", "http://nat64.example/x", "http://linklocal.example/x",
		"file:///etc/passwd", "file:/etc/passwd", "gopher://93.184.216.1/", "ftp://files.example/", "javascript:alert(1)", "http:files.example/x",
		"data:text/plain,x", "http://", "http:///x", "http://user@files.example/", "http://user:pass@files.example/x", "http://files.example:0/",
		"http://files.example:99999/", "http://files.example:/x", "http://files.example:80:80/", "http://a..example/", "http://files.example\\@127.0.0.1/",
		"http://files.example\t/", "unix:///var/run/docker.sock", "//127.0.0.1/x",
		"http://" + strings.Repeat("a", 64) + ".example/", "http://files.example/" + strings.Repeat("a", maxURL),
	}
}

func placeWorld(w *world) {
	w.name("registry.example", "93.184.216.34")
	w.name("files.example", "93.184.216.1")
	w.name("inside.example", "10.1.2.3")
	w.name("mapped.example", "::ffff:10.0.0.1")
	w.name("nat64.example", "64:ff9b::10.0.0.1")
	w.name("linklocal.example", "169.254.169.254")
	w.name("rebound.example", "127.0.0.1")
	w.name("metadata.google.internal", "169.254.169.254")
	w.name("2130706433", "127.0.0.1") // as a resolver of the C library reads it
	w.name("localhost", "127.0.0.1")
	for _, ip := range []string{"127.0.0.1:80", "169.254.169.254:80", "10.1.2.3:80", "10.0.0.1:80", "[::1]:80"} {
		w.serve(ip, http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) { io.WriteString(rw, "inside") }))
	}
	w.serve("93.184.216.1:80", http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) { io.WriteString(rw, "file") }))
}

func TestForbiddenPlaces(t *testing.T) {
	for _, place := range forbiddenPlaces() {
		t.Run(clip(place, 60), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				placeWorld(w)
				w.serve("93.184.216.34:80", redirectTo(302, place))
				c := w.one(Connection{})
				for _, url := range []string{"p", place} {
					_, body, err := get(c, url)
					if err == nil {
						t.Fatalf("asked %q: got %q", url, body)
					}
					var refused *Refused
					var unavailable *Unavailable
					if !errors.As(err, &refused) && !errors.As(err, &unavailable) {
						t.Errorf("asked %q: error %v of type %T", url, err, err)
					}
				}
				for _, d := range w.dials() {
					if d != "93.184.216.34:80" && d != "93.184.216.1:80" {
						t.Errorf("dialled %s", d)
					}
				}
				if st := c.Status()[0]; st.State != Closed || st.Failures != 0 {
					t.Errorf("a refused place counts as a failure of the registry: %+v", st)
				}
			})
		})
	}
}

func TestHosts(t *testing.T) {
	for _, tc := range []struct {
		hosts []string
		url   string
		ok    bool
	}{
		{nil, "http://files.example/f", true},
		{nil, "http://FILES.example.:80/f", true},
		{nil, "https://files.example/f", true},
		{[]string{}, "http://files.example/f", false},
		{[]string{}, "http://registry.example/f", true},
		{[]string{}, "http://registry.example:8080/f", false},
		{[]string{"*"}, "http://files.example/f", true},
		{[]string{"files.example"}, "http://files.example/f", true},
		{[]string{"files.example"}, "http://other.example/f", false},
		{[]string{"files.example"}, "http://files.example:8080/f", false},
		{[]string{"files.example:8080"}, "http://files.example:8080/f", true},
		{[]string{"files.example:8080"}, "http://files.example/f", false},
		{[]string{"files.example:*"}, "http://files.example:8080/f", true},
		{[]string{"*.cdn.example"}, "http://a.b.cdn.example/f", true},
		{[]string{"*.cdn.example"}, "http://cdn.example/f", false},
		{[]string{"*.cdn.example"}, "http://evilcdn.example/f", false},
		{[]string{"*.cdn.example"}, "http://inside.cdn.example/f", false}, // private address behind a wildcard
		{[]string{"inside.cdn.example"}, "http://inside.cdn.example/f", true},
		{[]string{"*"}, "http://inside.cdn.example/f", false},
		{[]string{"10.1.2.3"}, "http://10.1.2.3/f", true},
		{[]string{"10.1.2.3"}, "http://10.1.2.3:81/f", false},
		{[]string{"[fd00::5]:8080"}, "http://[fd00::5]:8080/f", true},
		{[]string{"fd00::5"}, "http://[fd00:0::5]/f", true},
		{[]string{"nas"}, "http://nas/f", true},
	} {
		inWorld(t, func(t *testing.T, w *world) {
			w.name("registry.example", "93.184.216.34")
			ca := newAuthority(t)
			w.file("ca", ca.pem)
			for host, ip := range map[string]string{"files.example": "93.184.216.1", "other.example": "93.184.216.2", "a.b.cdn.example": "93.184.216.3",
				"cdn.example": "93.184.216.4", "evilcdn.example": "93.184.216.5", "inside.cdn.example": "10.1.2.3", "nas": "192.168.0.9"} {
				w.name(host, ip)
			}
			h := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ok") })
			for _, a := range []string{"93.184.216.34:80", "93.184.216.34:8080", "93.184.216.1:80", "93.184.216.1:8080", "93.184.216.2:80", "93.184.216.3:80", "93.184.216.4:80",
				"93.184.216.5:80", "10.1.2.3:80", "10.1.2.3:81", "[fd00::5]:8080", "[fd00::5]:80", "192.168.0.9:80"} {
				w.serve(a, h)
			}
			w.serveTLS("93.184.216.1:443", h, ca.server(t, "files.example"))
			c := w.one(Connection{Hosts: tc.hosts, CAFile: "ca"})
			_, body, err := get(c, tc.url)
			var refused *Refused
			if tc.ok != (body == "ok") || !tc.ok && !errors.As(err, &refused) {
				t.Errorf("hosts %q, %s: body %q, error %v; want ok=%v", tc.hosts, tc.url, body, err, tc.ok)
			}
		})
	}
}

func TestOwnHostMayBeInside(t *testing.T) {
	for _, tc := range []struct {
		url string
		ip  string
		ok  bool
	}{
		{"http://127.0.0.1:4873/", "127.0.0.1:4873", true},
		{"http://[::1]:4873/", "[::1]:4873", true},
		{"http://[::ffff:127.0.0.1]:4873/", "127.0.0.1:4873", true},
		{"http://localhost:4873/", "127.0.0.1:4873", true},
		{"http://nexus.corp:8081/r/", "10.0.0.9:8081", true},
		{"http://169.254.1.1/", "169.254.1.1:80", true},           // spelled out by the operator
		{"http://metaname.example/", "169.254.169.254:80", false}, // a name that leads there is not
		{"http://sinkhole.example/", "0.0.0.0:80", false},
	} {
		inWorld(t, func(t *testing.T, w *world) {
			w.name("localhost", "::ffff:127.0.0.1")
			w.name("nexus.corp", "10.0.0.9")
			w.name("metaname.example", "169.254.169.254")
			w.name("sinkhole.example", "0.0.0.0")
			w.serve(tc.ip, &recorder{})
			c := w.one(Connection{URL: tc.url, Token: "t"})
			_, body, err := get(c, "p")
			if tc.ok != (body == "ok") {
				t.Errorf("%s: body %q, error %v; want ok=%v", tc.url, body, err, tc.ok)
			}
			// The permission is for this host and port only.
			if _, _, err := get(c, "http://127.0.0.1:22/"); err == nil || !strings.Contains(err.Error(), "not public") {
				t.Errorf("%s: other port: %v", tc.url, err)
			}
		})
	}
}

// A name that changes its address between two looks must not matter: the
// address that was judged is the address that is dialled.
func TestRebinding(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.name("flip.example", "93.184.216.1")
		w.name("flip.example", "127.0.0.1")
		w.serve("93.184.216.1:80", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Connection", "close")
		}))
		w.serve("127.0.0.1:80", &recorder{})
		c := w.one(Connection{})
		if _, _, err := get(c, "http://flip.example/"); err != nil {
			t.Fatal(err)
		}
		_, body, err := get(c, "http://flip.example/")
		var refused *Refused
		if !errors.As(err, &refused) {
			t.Errorf("second answer: body %q, error %v", body, err)
		}
		if want := []string{"93.184.216.1:80"}; !slices.Equal(w.dials(), want) {
			t.Errorf("dialled %v, want %v", w.dials(), want)
		}
	})
}

// Of several addresses only the public ones are dialled.
func TestMixedAddresses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("mixed.example", "127.0.0.1", "::1", "93.184.216.1", "10.0.0.1")
		w.serve("127.0.0.1:80", &recorder{})
		w.serve("93.184.216.1:80", &recorder{})
		c := w.one(Connection{})
		if _, body, err := get(c, "http://mixed.example/"); body != "ok" {
			t.Fatal(err)
		}
		if want := []string{"93.184.216.1:80"}; !slices.Equal(w.dials(), want) {
			t.Errorf("dialled %v, want %v", w.dials(), want)
		}
	})
}

// The second address is tried when the first is dead, and early when it hangs.
func TestAddressesRace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "2606:2800::1", "2606:2800::2", "93.184.216.34")
		w.listen("[2606:2800::1]:80").silent = true
		w.serve("93.184.216.34:80", &recorder{})
		c := w.one(Connection{})
		if _, body, err := get(c, "p"); body != "ok" {
			t.Fatal(err)
		}
		if want := []string{"[2606:2800::1]:80", "93.184.216.34:80"}; !slices.Equal(w.dials(), want) {
			t.Errorf("dialled %v, want %v (families in turn)", w.dials(), want)
		}
	})
}

func TestPublic(t *testing.T) {
	f := newFence([]netip.Prefix{netip.MustParsePrefix("2a02:100::/32")})
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "1.1.1.1": true, "172.15.0.1": true, "172.32.0.1": true, "100.128.0.1": true, "192.0.1.1": true, "223.255.255.255": true,
		"2606:2800::1": true, "2a00::1": true, "64:ff9b::93.184.216.34": true, "::ffff:93.184.216.34": true, "192.0.2.1": true, "2001:db8::1": true,
		"127.255.255.255": false, "10.255.255.255": false, "100.127.255.255": false, "240.0.0.1": false, "2a02:100::5": false,
		"::": false, "4000::1": false, "100::1": false, "64:ff9b::10.1.1.1": false, "5f00::1": false,
		"::ffff:0:127.0.0.1": false,
	} {
		if got := f.public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("public(%s) = %v, want %v", addr, got, want)
		}
	}
	if f.public(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

func TestHostRules(t *testing.T) {
	for _, s := range []string{"", "*.", "*.example", "*.10.0.0.1", "http://a.example", "a.example/x", "a.example:", "a.example:0", "a.example:x",
		"a.*.example", "**", "a b", "user@a.example", "2130706433", "ü.example", "[::1"} {
		if r, err := parseHostRule(s); err == nil {
			t.Errorf("parseHostRule(%q) = %+v, want an error", s, r)
		}
	}
}

// Control characters in URLs, methods, fields and validators never reach the
// wire.
func TestNoInjection(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.one(Connection{URL: "http://127.0.0.1/"})
		for _, rq := range []Request{
			{URL: "x\r\nHost: evil.example"}, {URL: "x\n"}, {URL: "x\x00"}, {URL: "http://127.0.0.1\r\n/"}, {URL: "a\\b"},
			{Method: "GET / HTTP/1.1\r\nX: y\r\n\r\n"}, {Method: "G T"}, {ETag: "\"a\"\r\nX: y"}, {LastModified: "a\nb"},
			{From: 1, Validator: "a\r\nb"}, {Header: http.Header{"Accept": {"a\r\nX: y"}}}, {Header: http.Header{"A: b\r\nC": {"d"}}},
		} {
			_, _, err := do(c, rq)
			var refused *Refused
			if !errors.As(err, &refused) || c.Dials() != 0 {
				t.Errorf("%+v: error %v, %d dials", rq, err, c.Dials())
			}
		}
	})
}

// What may be asked is decided before anything is looked up.
func TestUnnamedHostIsNotLookedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.one(Connection{Hosts: []string{}})
		_, _, err := get(c, "http://secret-data.attacker.example/")
		if err == nil || c.Lookups() != 0 || c.Dials() != 0 {
			t.Errorf("error %v, %d lookups, %d dials", err, c.Lookups(), c.Dials())
		}
		if _, err := c.Do(context.Background(), Request{Connection: "none"}); !errors.Is(err, ErrNoConnection) {
			t.Errorf("unknown connection: %v", err)
		}
	})
}
