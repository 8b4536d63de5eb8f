package upstream

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The names of a credential's value in every spelling it may take.
const (
	tooth   = "s3cr3t-tooth"            // every secret of these tests holds this
	toothed = "dXNlcjpzM2NyM3QtdG9vdGg" // base64 of user:s3cr3t-tooth, without padding
)

func leaks(h http.Header) string {
	s := fmt.Sprint(h)
	if strings.Contains(s, tooth) || strings.Contains(s, toothed) {
		return s
	}
	return ""
}

// credentials lists every way of giving one; each must reach home and nothing
// else.
func credentials() map[string]Connection {
	return map[string]Connection{
		"basic":         {Username: "user", Password: tooth},
		"basic file":    {Username: "user", PasswordFile: "pw"},
		"basic env":     {Username: "user", PasswordEnv: "PW"},
		"url":           {URL: "http://user:" + tooth + "@registry.example/base/"},
		"bearer":        {Token: tooth},
		"bearer file":   {TokenFile: "pw"},
		"bearer env":    {TokenEnv: "PW"},
		"raw":           {Header: map[string]string{"authorization": tooth}},
		"custom header": {Header: map[string]string{"X-Api-Key": tooth}},
		"header file":   {HeaderFile: map[string]string{"x-api-key": "pw"}},
		"header env":    {HeaderEnv: map[string]string{"x-api-key": "PW"}},
		"cookie-like":   {Header: map[string]string{"X-Auth": tooth}, Token: tooth},
	}
}

func TestCredentialStaysHome(t *testing.T) {
	places := []struct {
		name, addr, url string
	}{
		{"other host", "93.184.216.1:80", "http://files.example/f"},
		{"other port", "93.184.216.34:8080", "http://registry.example:8080/f"},
		{"other scheme", "93.184.216.34:443", "https://registry.example/f"},
		{"subdomain", "93.184.216.2:80", "http://sub.registry.example/f"},
	}
	ca := newAuthority(t)
	for kind, k := range credentials() {
		for _, place := range places {
			for _, how := range []string{"redirect", "metadata"} {
				t.Run(kind+"/"+place.name+"/"+how, func(t *testing.T) {
					inWorld(t, func(t *testing.T, w *world) {
						w.file("pw", tooth+"\nsecond line\n")
						w.file("ca", ca.pem)
						w.setenv("PW", tooth)
						w.name("registry.example", "93.184.216.34")
						w.name("files.example", "93.184.216.1")
						w.name("sub.registry.example", "93.184.216.2")
						home := &recorder{Handler: redirectTo(302, place.url)}
						away := &recorder{}
						w.serve("93.184.216.34:80", home)
						if strings.HasPrefix(place.url, "https") {
							w.serveTLS(place.addr, away, ca.server(t, "registry.example"))
						} else {
							w.serve(place.addr, away)
						}
						k := k
						k.CAFile, k.Hosts = "ca", []string{"*", "registry.example:*"}
						c := w.one(k)
						url := place.url
						if how == "redirect" {
							url = "p"
						}
						rq := Request{URL: url, Header: http.Header{"Accept": {"a/b"}, "X-Client": {"c"}}}
						if _, body, err := do(c, rq); err != nil || body != "ok" {
							t.Fatalf("body %q, error %v", body, err)
						}
						if how == "redirect" {
							if h := home.requests()[0].Header; leaks(h) == "" || h.Get("X-Client") != "c" {
								t.Errorf("home got %v, want the credential and X-Client", h)
							}
						} else if len(home.requests()) != 0 {
							t.Error("home was asked")
						}
						if len(away.requests()) != 1 {
							t.Fatalf("away got %d requests", len(away.requests()))
						}
						h := away.requests()[0].Header
						if s := leaks(h); s != "" || h.Get("Authorization") != "" || h.Get("X-Client") != "" || h.Get("Accept") != "a/b" {
							t.Errorf("away got %v, want Accept and nothing of ours", h)
						}
					})
				})
			}
		}
	}
}

// A place outside must not be able to make larder ask home for something with
// its credential.
func TestCredentialDoesNotComeBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.name("files.example", "93.184.216.1")
		home := &recorder{Handler: http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
			if rq.URL.Path == "/admin" {
				return
			}
			http.Redirect(rw, rq, "http://files.example/x", http.StatusFound)
		})}
		w.serve("93.184.216.34:80", home)
		w.serve("93.184.216.1:80", redirectTo(302, "http://registry.example/admin"))
		c := w.one(Connection{Token: tooth})
		if _, _, err := get(c, "p"); err != nil {
			t.Fatal(err)
		}
		seen := home.requests()
		if len(seen) != 2 || leaks(seen[0].Header) == "" || leaks(seen[1].Header) != "" {
			t.Errorf("home saw %d requests, second header %v", len(seen), seen[len(seen)-1].Header)
		}
	})
}

func TestCallerCannotSetCredentials(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		home := &recorder{}
		w.serve("93.184.216.34:80", home)
		c := w.one(Connection{})
		_, _, err := do(c, Request{URL: "p", Header: http.Header{
			"authorization": {tooth}, "Cookie": {tooth}, "Proxy-Authorization": {tooth}, "Host": {"evil.example"},
			"Connection": {"x"}, "If-None-Match": {"e"}, "Range": {"bytes=0-"}, "Accept-Encoding": {"br"}}})
		if err != nil {
			t.Fatal(err)
		}
		rq := home.requests()[0]
		if leaks(rq.Header) != "" || rq.Host != "registry.example" || rq.Header.Get("If-None-Match") != "" ||
			rq.Header.Get("Range") != "" || rq.Header.Get("Accept-Encoding") != "gzip" || rq.Header.Get("User-Agent") != "larder" {
			t.Errorf("host %s, header %v", rq.Host, rq.Header)
		}
	})
}

func TestSecretFileIsReadAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		home := &recorder{}
		w.serve("93.184.216.34:80", home)
		w.file("token", "one\n")
		c := w.one(Connection{TokenFile: "token"})
		ask := func(want string) {
			t.Helper()
			if _, _, err := get(c, "p"); err != nil {
				t.Fatal(err)
			}
			seen := home.requests()
			if got := seen[len(seen)-1].Header.Get("Authorization"); got != "Bearer "+want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		ask("one")
		w.file("token", "two\n")
		ask("one")
		time.Sleep(credentialCheck)
		ask("two")
		w.file("token", "\n") // half-written: the old one is kept
		time.Sleep(credentialCheck)
		ask("two")
	})
}

func TestPrintingShowsNoSecret(t *testing.T) {
	cfg := Config{Proxy: "http://u:" + tooth + "@proxy.example:1", Connections: []Connection{
		{Name: "r", URL: "https://u:" + tooth + "@registry.example/", Token: tooth, Header: map[string]string{"k": tooth}}}}
	var log strings.Builder
	l := slog.New(slog.NewTextHandler(&log, nil))
	l.Info("x", "cfg", cfg, "connection", cfg.Connections[0], "all", cfg.Connections)
	for _, s := range []string{fmt.Sprintf("%v", cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), fmt.Sprint(cfg.Connections),
		fmt.Sprintf("%+v", &cfg.Connections[0]), fmt.Sprintf("%#v", cfg.Connections), log.String(), fmt.Sprint(cfg.Validate())} {
		if strings.Contains(s, tooth) {
			t.Errorf("secret in %s", s)
		}
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.serve("93.184.216.34:80", http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
			switch rq.URL.Path {
			case "/user":
				rw.Header().Set("Location", "http://u:"+tooth+"@files.example/x?sig="+tooth)
			case "/query":
				rw.Header().Set("Location", "http://127.0.0.1/x?sig="+tooth+"#"+tooth)
			case "/opaque":
				rw.Header().Set("Location", "http:"+tooth)
			case "/broken":
				rw.Header().Set("Location", "http://["+tooth)
			}
			rw.WriteHeader(302)
		}))
		c := w.one(Connection{Token: tooth})
		for _, url := range []string{"user", "query", "opaque", "broken", "http://u:" + tooth + "@registry.example/", "http://127.0.0.1/?a=" + tooth,
			"file:" + tooth, "http://gone.example/?" + tooth} {
			_, _, err := get(c, url)
			if err == nil || strings.Contains(err.Error(), tooth) || strings.Contains(fmt.Sprintf("%+v", err), tooth) {
				t.Errorf("%s: error %v", url, err)
			}
		}
		if s := fmt.Sprintf("%+v", c.Status()); strings.Contains(s, tooth) {
			t.Errorf("secret in status %s", s)
		}
	})
}
