package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOffline(t *testing.T) {
	for name, cfg := range map[string]Config{
		"client":     {Offline: true, Connections: []Connection{{Name: "r", URL: "http://registry.example/"}}},
		"connection": {Connections: []Connection{{Name: "r", URL: "http://registry.example/", Offline: true}}},
	} {
		inWorld(t, func(t *testing.T, w *world) {
			c := w.client(cfg)
			for _, rq := range []Request{{}, {URL: "http://127.0.0.1/"}, {Method: "POST"}, {Method: "bad method"}} {
				if _, _, err := do(c, rq); !errors.Is(err, ErrOffline) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if c.Dials() != 0 || c.Lookups() != 0 || len(w.dials()) != 0 {
				t.Errorf("%s: %d dials, %d lookups", name, c.Dials(), c.Lookups())
			}
			if !c.Status()[0].Offline {
				t.Errorf("%s: status %+v", name, c.Status()[0])
			}
		})
	}
}

// A request that is between two attempts when the switch is thrown does not
// dial again.
func TestOfflineDuringRetry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		k := Connection{Name: "r", URL: "http://127.0.0.1/"}
		c := w.client(Config{Connections: []Connection{k}})
		done := make(chan error)
		go func() { _, _, err := get(c, "p"); done <- err }()
		synctest.Wait() // the first dial was refused; it waits for the second
		changed, err := c.Reload(Config{Offline: true, Connections: []Connection{k}})
		if err != nil || !slices.Equal(changed, []string{"offline: true"}) {
			t.Fatalf("reload: %q, %v", changed, err)
		}
		if err := <-done; !errors.Is(err, ErrOffline) || c.Dials() != 1 {
			t.Errorf("%v after %d dials", err, c.Dials())
		}
	})
}

func TestReload(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		h := &recorder{}
		w.serve(home, h)
		ca := newAuthority(t)
		w.file("ca", ca.pem)
		w.file("token", "one")
		base := func() []Connection {
			return []Connection{
				{Name: "same", URL: "http://registry.example/"},
				{Name: "other", URL: "http://registry.example/", Token: "old-" + tooth},
				{Name: "files", URL: "https://registry.example/", CAFile: "ca"},
				{Name: "gone", URL: "http://registry.example/"},
			}
		}
		c := w.client(Config{Connections: base()})
		ask := func(name string) error {
			resp, err := c.Do(context.Background(), Request{Connection: name, URL: "p"})
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			return err
		}
		for _, name := range []string{"same", "other"} {
			if err := ask(name); err != nil {
				t.Fatal(err)
			}
		}
		dials := c.Dials()

		if changed, err := c.Reload(Config{Connections: base()}); err != nil || len(changed) != 0 {
			t.Errorf("same again: %q, %v", changed, err)
		}
		next := base()[:3]
		next[1].Token, next[1].Retries = "new-"+tooth, 5
		next = append(next, Connection{Name: "added", URL: "http://registry.example/"})
		w.file("ca", ca.pem+newAuthority(t).pem)
		changed, err := c.Reload(Config{Connections: next})
		want := []string{`connection "other": token, retries`, `connection "files": what its files, the environment or the general settings say`,
			`connection "added": added`, `connection "gone": removed`}
		if err != nil || !slices.Equal(changed, want) {
			t.Errorf("changed %q, %v\nwant %q", changed, err, want)
		}
		if err := ask("same"); err != nil || c.Dials() != dials {
			t.Errorf("an unchanged connection was dialled anew: %v", err)
		}
		if err := ask("other"); err != nil || h.requests()[len(h.requests())-1].Header.Get("Authorization") != "Bearer new-"+tooth {
			t.Errorf("new token: %v", err)
		}
		if err := ask("gone"); !errors.Is(err, ErrNoConnection) {
			t.Errorf("removed connection: %v", err)
		}
		if st := c.Status(); st[1].Requests != 2 || st[1].Name != "other" {
			t.Errorf("counts did not outlive the reload: %+v", st[1])
		}
		if _, err := c.Reload(Config{Connections: []Connection{{Name: "same", URL: "nonsense"}}}); err == nil {
			t.Error("a bad configuration was taken")
		}
		if err := ask("other"); err != nil {
			t.Errorf("after a bad reload: %v", err)
		}
	})
}

// A download that runs while its connection is replaced runs to its end.
func TestReloadUnderWay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.serveRaw(home, func(c net.Conn, _ *http.Request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
			time.Sleep(time.Second)
			io.WriteString(c, "def")
		})
		c := w.one(Connection{})
		resp, err := c.Do(context.Background(), Request{Connection: "r", URL: "p"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Reload(Config{}); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if string(b) != "abcdef" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

func TestClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.serveRaw("127.0.0.1:80", func(c net.Conn, rq *http.Request) {
			if rq.URL.Path == "/body" {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
			}
			io.Copy(io.Discard, c)
		})
		c := w.one(Connection{URL: "http://127.0.0.1/"})
		resp, err := c.Do(context.Background(), Request{Connection: "r", URL: "body"})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 2)
		go func() { _, err := io.ReadAll(resp.Body); done <- err }()
		go func() { _, err := c.Do(context.Background(), Request{Connection: "r", URL: "header"}); done <- err }()
		synctest.Wait()
		began := time.Now()
		c.Close()
		for range 2 {
			if err := <-done; !errors.Is(err, ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
		if _, _, err := get(c, "p"); !errors.Is(err, ErrClosed) || time.Since(began) != 0 {
			t.Errorf("after Close: %v", err)
		}
		if _, err := c.Reload(Config{}); !errors.Is(err, ErrClosed) {
			t.Errorf("reload after Close: %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	ok := Connection{Name: "r", URL: "https://registry.example/"}
	with := func(f func(*Connection)) Config {
		k := ok
		f(&k)
		return Config{Connections: []Connection{k}}
	}
	for _, tc := range []struct {
		cfg  Config
		want string // "" is valid
	}{
		{Config{}, ""},
		{Config{Connections: []Connection{ok}}, ""},
		{Config{Connections: []Connection{ok, ok}}, `connection "r": name: is used twice`},
		{Config{Connections: []Connection{{URL: "http://registry.example"}}}, "connection number 1: name: is missing"},
		{Config{Proxy: "proxy.corp:3128"}, "proxy: must begin with http://"},
		{Config{Proxy: "http://"}, "proxy: names no host"},
		{Config{Proxy: "http://proxy.corp:1/x?y"}, "proxy: must not have a path"},
		{Config{UserAgent: "a\r\nb"}, "user_agent: holds"},
		{Config{Internal: []string{"10.0.0.0"}}, `internal: "10.0.0.0" is not an address block`},
		{with(func(k *Connection) { k.URL = "" }), `connection "r": url: is missing`},
		{with(func(k *Connection) { k.URL = "registry.example" }), `url: scheme "" is neither`},
		{with(func(k *Connection) { k.URL = "file:///x" }), `url: scheme "file" is neither`},
		{with(func(k *Connection) { k.URL = "http://0x7f.1/" }), "url: its host is a number"},
		{with(func(k *Connection) { k.URL = "http://h.example/?a" }), "url: must not have a query"},
		{with(func(k *Connection) { k.URL = "http://h.example/#a" }), "url: must not have a query"},
		{with(func(k *Connection) { k.URL = "http://h.example:0/" }), "url: port"},
		{with(func(k *Connection) { k.URL = "http://a b/" }), "url: is not a URL"},
		{with(func(k *Connection) { k.Hosts = []string{"http://a.example"} }), `hosts: "http://a.example": write a host`},
		{with(func(k *Connection) { k.Proxy = "ftp://p" }), "proxy: must begin with"},
		{with(func(k *Connection) { k.ClientCert = "c" }), "client_cert: client_cert and client_key belong together"},
		{with(func(k *Connection) { k.URL, k.ClientCert, k.ClientKey = "http://h.example/", "c", "k" }), "client_cert: needs an https url"},
		{with(func(k *Connection) { k.Password = "p" }), "username: is missing"},
		{with(func(k *Connection) { k.Username, k.Password, k.PasswordEnv = "u", "p", "P" }), "password: set only one"},
		{with(func(k *Connection) { k.Token, k.TokenFile = "t", "f" }), "token: set only one"},
		{with(func(k *Connection) { k.Token, k.Username = "t", "u" }), "token: set either"},
		{with(func(k *Connection) { k.URL, k.Token = "https://u@h.example/", "t" }), "token: set either"},
		{with(func(k *Connection) { k.URL, k.Username = "https://u@h.example/", "t" }), "url: carries user information beside"},
		{with(func(k *Connection) { k.Username = "a:b" }), "username: must not hold a colon"},
		{with(func(k *Connection) { k.Token = "a\nb" }), "token: holds characters"},
		{with(func(k *Connection) { k.Header = map[string]string{"a b": "c"} }), `header: "a b" is not a header name`},
		{with(func(k *Connection) { k.Header = map[string]string{"a": "c\r\nd"} }), "header: the value of a holds"},
		{with(func(k *Connection) { k.Header = map[string]string{"Host": "c"} }), "header: Host is set by larder"},
		{with(func(k *Connection) { k.HeaderEnv = map[string]string{"Content-Length": "c"} }), "header_env: Content-Length is set by larder"},
		{with(func(k *Connection) { k.Header, k.HeaderFile = map[string]string{"A": "c"}, map[string]string{"a": "f"} }), "header_file: a is set twice"},
		{with(func(k *Connection) { k.Token, k.Header = "t", map[string]string{"Authorization": "c"} }), "header: Authorization beside"},
		{with(func(k *Connection) { k.HeaderTimeout = -1 }), "header_timeout: -1ns is not between"},
		{with(func(k *Connection) { k.IdleTimeout = 25 * time.Hour }), "idle_timeout: 25h0m0s is not between"},
		{with(func(k *Connection) { k.Retries = -2 }), "retries: -2 is not between -1 and 20"},
		{with(func(k *Connection) { k.MaxConcurrent = -1 }), "max_concurrent: -1 is not between"},
	} {
		err := tc.cfg.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Validate(%#v) = %v, want %q", tc.cfg.Connections, err, tc.want)
		}
	}
	bad := with(func(k *Connection) { k.URL, k.Retries, k.Hosts = "", 99, []string{"a b"} })
	if n := strings.Count(bad.Validate().Error(), "\n"); n != 2 {
		t.Errorf("three faults give %d lines", n+1)
	}
}

// What only New can know names the field, too.
func TestNewErrors(t *testing.T) {
	w := newWorld(t)
	w.file("empty", "\n")
	w.file("text", "hello")
	w.setenv("CR", "a\rb")
	for _, tc := range []struct {
		k    Connection
		want string
	}{
		{Connection{TokenFile: "missing"}, `connection "r": token_file: read secret: no such file`},
		{Connection{TokenFile: "empty"}, "token_file: the first line of the file is empty"},
		{Connection{TokenEnv: "UNSET"}, "token_env: the environment variable UNSET is empty"},
		{Connection{TokenEnv: "CR"}, "the value for Authorization holds"},
		{Connection{Username: "u", PasswordFile: "missing"}, "password_file: read secret"},
		{Connection{HeaderFile: map[string]string{"A": "missing"}}, "header_file: read secret"},
		{Connection{HeaderEnv: map[string]string{"A": "UNSET"}}, "header_env: the environment variable UNSET"},
		{Connection{CAFile: "missing"}, "ca_file: read certificates"},
		{Connection{CAFile: "text"}, "ca_file: text holds no PEM certificate"},
		{Connection{ClientCert: "missing", ClientKey: "text"}, "client_cert: read certificate"},
		{Connection{ClientCert: "text", ClientKey: "missing"}, "client_key: read key"},
		{Connection{ClientCert: "text", ClientKey: "text"}, "client_cert: "},
		{Connection{URL: "http://registry.example/", Token: "t", Proxy: "http://proxy.corp:1"}, "readable by the egress proxy"},
	} {
		tc.k.Name = "r"
		if tc.k.URL == "" {
			tc.k.URL = "https://registry.example/"
		}
		_, err := w.open(Config{Connections: []Connection{tc.k}})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("New: %v, want %q", err, tc.want)
		}
	}
}
