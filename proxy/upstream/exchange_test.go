package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const home = "93.184.216.34:80"

// script answers request i with step i; the last step repeats.
func script(steps ...http.HandlerFunc) *recorder {
	var mu sync.Mutex
	i := 0
	return &recorder{Handler: http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
		mu.Lock()
		step := steps[min(i, len(steps)-1)]
		i++
		mu.Unlock()
		step(rw, rq)
	})}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		rw.WriteHeader(code)
		if code != 304 && code != 204 {
			io.WriteString(rw, "ok")
		}
	}
}

func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestRedirects(t *testing.T) {
	for _, tc := range []struct {
		name   string
		method string
		steps  []http.HandlerFunc
		want   string // body, or part of the error
		asked  int
	}{
		{"relative", "", []http.HandlerFunc{status(302, "Location", "../q?x=1"), status(200)}, "ok", 2},
		{"root", "", []http.HandlerFunc{status(301, "Location", "/q"), status(200)}, "ok", 2},
		{"scheme relative", "", []http.HandlerFunc{status(307, "Location", "//registry.example/q"), status(200)}, "ok", 2},
		{"308 on HEAD", "HEAD", []http.HandlerFunc{status(308, "Location", "q"), status(200)}, "", 2},
		{"five", "", []http.HandlerFunc{status(302, "Location", "1"), status(302, "Location", "2"), status(303, "Location", "3"), status(302, "Location", "4"), status(302, "Location", "5"), status(200)}, "ok", 6},
		{"loop", "", []http.HandlerFunc{status(302, "Location", "p")}, "more than 5 times", 6},
		{"no location", "", []http.HandlerFunc{status(302)}, "0 locations", 1},
		{"empty location", "", []http.HandlerFunc{status(302, "Location", "")}, "location is empty", 1},
		{"two locations", "", []http.HandlerFunc{func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header()["Location"] = []string{"a", "b"}
			rw.WriteHeader(302)
		}}, "2 locations", 1},
		{"307 on POST", "POST", []http.HandlerFunc{status(307, "Location", "q")}, "redirects a POST", 1},
		{"308 on PUT", "PUT", []http.HandlerFunc{status(308, "Location", "q")}, "redirects a PUT", 1},
		{"303 on POST", "POST", []http.HandlerFunc{status(303, "Location", "q")}, "redirects a POST", 1},
		{"300 is an answer", "", []http.HandlerFunc{status(300, "Location", "q")}, "ok", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.name("registry.example", "93.184.216.34")
				h := script(tc.steps...)
				w.serve(home, h)
				c := w.one(Connection{})
				rq := Request{URL: "a/p", Method: tc.method}
				if tc.method == "POST" || tc.method == "PUT" {
					rq.Body = strings.NewReader("secret")
				}
				_, body, err := do(c, rq)
				var refused *Refused
				if err != nil && (!errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want)) || err == nil && body != tc.want {
					t.Errorf("body %q, error %v; want %q", body, err, tc.want)
				}
				if n := len(h.requests()); n != tc.asked {
					t.Errorf("%d requests, want %d", n, tc.asked)
				}
			})
		})
	}
}

func TestRedirectFromHTTPSToHTTP(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ca := newAuthority(t)
		w.file("ca", ca.pem)
		w.name("registry.example", "93.184.216.34")
		w.name("files.example", "93.184.216.1")
		w.name("plain.example", "93.184.216.2")
		w.serveTLS("93.184.216.34:443", redirectTo(302, "http://plain.example/x"), ca.server(t, "registry.example"))
		w.serveTLS("93.184.216.1:443", redirectTo(302, "http://plain.example/x"), ca.server(t, "files.example"))
		plain := &recorder{Handler: redirectTo(302, "https://files.example/x")}
		w.serve("93.184.216.2:80", plain)
		hosts := []string{"*", "plain.example"}
		for _, k := range []Connection{{Name: "s", URL: "https://registry.example/", CAFile: "ca", Hosts: hosts},
			{Name: "p", URL: "http://plain.example/", CAFile: "ca", Hosts: hosts}} {
			c := w.client(Config{Connections: []Connection{k}})
			_, err := c.Do(context.Background(), Request{Connection: k.Name, URL: "x"})
			if err == nil || !strings.Contains(err.Error(), "https is never left for http") {
				t.Errorf("from %s: %v", k.URL, err)
			}
			_, err = c.Do(context.Background(), Request{Connection: k.Name, URL: "http://plain.example/y"})
			if k.Name == "s" && (err == nil || !strings.Contains(err.Error(), "https is never left for http")) {
				t.Errorf("named by metadata: %v", err)
			}
			if k.Name == "s" && len(plain.requests()) != 0 {
				t.Error("a plain http host was asked for an https connection")
			}
		}
	})
}

func TestRetries(t *testing.T) {
	date := func(d time.Duration) http.HandlerFunc {
		return func(rw http.ResponseWriter, rq *http.Request) {
			status(503, "Retry-After", time.Now().Add(d).UTC().Format(http.TimeFormat))(rw, rq)
		}
	}
	for _, tc := range []struct {
		name   string
		rq     Request
		steps  []http.HandlerFunc
		status int // of the answer, or of Unavailable with fail
		fail   bool
		after  time.Duration // Unavailable.RetryAfter
		asked  int
		took   time.Duration // virtual
	}{
		{"503 twice", Request{}, []http.HandlerFunc{status(503), status(503), status(200)}, 200, false, 0, 3, 150 * time.Millisecond},
		{"503 for ever", Request{}, []http.HandlerFunc{status(503)}, 503, true, 0, 3, 150 * time.Millisecond},
		{"500", Request{}, []http.HandlerFunc{status(500), status(200)}, 200, false, 0, 2, 50 * time.Millisecond},
		{"599", Request{}, []http.HandlerFunc{status(599), status(200)}, 200, false, 0, 2, 50 * time.Millisecond},
		{"501 is final", Request{}, []http.HandlerFunc{status(501)}, 501, true, 0, 1, 0},
		{"408", Request{}, []http.HandlerFunc{status(408), status(200)}, 200, false, 0, 2, 50 * time.Millisecond},
		{"408 for ever is an answer", Request{}, []http.HandlerFunc{status(408)}, 408, false, 0, 3, 150 * time.Millisecond},
		{"429 with seconds", Request{}, []http.HandlerFunc{status(429, "Retry-After", "2"), status(200)}, 200, false, 0, 2, 2 * time.Second},
		{"429 with a date", Request{}, []http.HandlerFunc{date(3 * time.Second), status(200)}, 200, false, 0, 2, 3 * time.Second},
		{"429 without time", Request{}, []http.HandlerFunc{status(429), status(200)}, 200, false, 0, 2, time.Second},
		{"429 doubles", Request{}, []http.HandlerFunc{status(429), status(429), status(200)}, 200, false, 0, 3, 3 * time.Second},
		{"429 forgotten after an answer", Request{}, []http.HandlerFunc{status(429), status(302, "Location", "q"), status(429), status(200)}, 200, false, 0, 4, 2 * time.Second},
		{"429 too long", Request{}, []http.HandlerFunc{status(429, "Retry-After", "60")}, 429, true, time.Minute, 1, 0},
		{"429 for a year", Request{}, []http.HandlerFunc{status(429, "Retry-After", "31536000")}, 429, true, maxRetryAfter, 1, 0},
		{"429 nonsense", Request{}, []http.HandlerFunc{status(429, "Retry-After", "-5, soon"), status(200)}, 200, false, 0, 2, time.Second},
		{"no retry", Request{NoRetry: true}, []http.HandlerFunc{status(503)}, 503, true, 0, 1, 0},
		{"429 no retry", Request{NoRetry: true}, []http.HandlerFunc{status(429, "Retry-After", "1")}, 429, true, time.Second, 1, 0},
		{"post", Request{Method: "POST", Body: strings.NewReader("x")}, []http.HandlerFunc{status(503)}, 503, true, 0, 1, 0},
		{"404 is an answer", Request{}, []http.HandlerFunc{status(404)}, 404, false, 0, 1, 0},
		{"401 is an answer", Request{}, []http.HandlerFunc{status(401)}, 401, false, 0, 1, 0},
		{"reset before header", Request{}, []http.HandlerFunc{reset, reset, status(200)}, 200, false, 0, 3, 150 * time.Millisecond},
		{"reset for ever", Request{}, []http.HandlerFunc{reset}, 0, true, 0, 3, 150 * time.Millisecond},
		{"407 from a proxy", Request{}, []http.HandlerFunc{status(407)}, 407, true, 0, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.name("registry.example", "93.184.216.34")
				h := script(tc.steps...)
				w.serve(home, h)
				c := w.one(Connection{})
				began := time.Now()
				tc.rq.URL = "p"
				resp, _, err := do(c, tc.rq)
				var u *Unavailable
				switch {
				case tc.fail && !errors.As(err, &u):
					t.Fatalf("error %v, want Unavailable", err)
				case tc.fail && (u.Status != tc.status || u.RetryAfter != tc.after || u.Connection != "r"):
					t.Errorf("got %+v, want status %d and RetryAfter %v", u, tc.status, tc.after)
				case !tc.fail && (err != nil || resp.Status != tc.status):
					t.Errorf("got %+v, %v, want status %d", resp, err, tc.status)
				}
				if n := len(h.requests()); n != tc.asked {
					t.Errorf("%d requests, want %d", n, tc.asked)
				}
				if d := time.Since(began); d != tc.took {
					t.Errorf("took %v, want %v", d, tc.took)
				}
				if n := c.Status()[0].Running; n != 0 {
					t.Errorf("%d places are still taken", n)
				}
			})
		})
	}
}

func TestPauseHoldsForAll(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		h := script(status(429, "Retry-After", "30"), status(200))
		w.serve(home, h)
		c := w.one(Connection{})
		get(c, "a")
		_, _, err := get(c, "b")
		var u *Unavailable
		if !errors.As(err, &u) || u.RetryAfter != 30*time.Second || len(h.requests()) != 1 {
			t.Errorf("during the pause: %v after %d requests", err, len(h.requests()))
		}
		if st := c.Status()[0]; st.RetryIn != 30*time.Second || st.State != Closed {
			t.Errorf("status %+v", st)
		}
		time.Sleep(28 * time.Second) // what is left fits into MaxWait
		if _, body, err := get(c, "c"); body != "ok" {
			t.Error(err)
		}
	})
}

func TestBreaker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.name("files.example", "93.184.216.1")
		var mu sync.Mutex
		code, hang := 503, false
		set := func(c int, h bool) { mu.Lock(); code, hang = c, h; mu.Unlock() }
		release := make(chan struct{})
		h := &recorder{Handler: http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
			mu.Lock()
			c, block := code, hang
			mu.Unlock()
			if block {
				<-release
			}
			status(c)(rw, rq)
		})}
		w.serve(home, h)
		w.serve("93.184.216.1:80", &recorder{})
		seen := &states{}
		c := w.client(Config{Observer: seen, Connections: []Connection{{Name: "r", URL: "http://registry.example/", Retries: -1}}})
		for range 5 {
			get(c, "p")
		}
		if st := c.Status()[0]; st.State != Open || st.Failures != 5 || st.RetryIn != 5*time.Second {
			t.Fatalf("after 5 failures: %+v", st)
		}
		_, _, err := get(c, "p")
		var u *Unavailable
		if !errors.As(err, &u) || u.RetryAfter != 5*time.Second || !strings.Contains(err.Error(), "Service Unavailable") || len(h.requests()) != 5 {
			t.Errorf("open: %v after %d requests", err, len(h.requests()))
		}
		if _, body, err := get(c, "http://files.example/f"); body != "ok" {
			t.Errorf("another host shares the breaker: %v", err)
		}
		time.Sleep(5 * time.Second)
		get(c, "p") // the probe fails: twice the time
		if st := c.Status()[0]; st.State != Open || st.RetryIn != 10*time.Second || len(h.requests()) != 6 {
			t.Fatalf("after a failed probe: %+v, %d requests", st, len(h.requests()))
		}
		time.Sleep(10 * time.Second)
		set(200, true)
		done := make(chan string)
		go func() { _, body, _ := get(c, "p"); done <- body }()
		synctest.Wait()
		if st := c.Status()[0]; st.State != HalfOpen {
			t.Errorf("probe out: %+v", st)
		}
		if _, _, err := get(c, "p"); !errors.As(err, &u) || len(h.requests()) != 7 {
			t.Errorf("a second probe went out: %v, %d requests", err, len(h.requests()))
		}
		close(release)
		if body := <-done; body != "ok" {
			t.Errorf("probe got %q", body)
		}
		if _, body, err := get(c, "p"); body != "ok" || c.Status()[0].State != Closed {
			t.Errorf("after a good probe: %v, %+v", err, c.Status()[0])
		}
		if want := "[open open closed]"; fmt.Sprint(seen.list()) != want {
			t.Errorf("observer saw %v, want %s", seen.list(), want)
		}
	})
}

// A probe whose client goes away must not leave the breaker waiting for ever.
func TestAbandonedProbe(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		h := script(status(503), func(rw http.ResponseWriter, rq *http.Request) { <-rq.Context().Done() }, status(200))
		w.serve(home, h)
		c := w.one(Connection{Retries: -1, BreakerFailures: 1})
		get(c, "p")
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { _, err := c.Do(ctx, Request{Connection: "r", URL: "p"}); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("abandoned: %v", err)
		}
		if _, body, err := get(c, "p"); body != "ok" {
			t.Errorf("next probe: %v", err)
		}
	})
}

func TestPlaces(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		h := &recorder{Handler: http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
			rw.Write(bytes.Repeat([]byte("x"), 1<<20)) // more than a pipe holds
		})}
		w.serve(home, h)
		c := w.one(Connection{MaxConcurrent: 2})
		bodies := make(chan io.ReadCloser, 3)
		for range 3 {
			go func() {
				resp, err := c.Do(context.Background(), Request{Connection: "r", URL: "p", Identity: true})
				if err != nil {
					t.Error(err)
					return
				}
				bodies <- resp.Body
			}()
		}
		synctest.Wait()
		if n := len(h.requests()); n != 2 {
			t.Fatalf("%d bulk requests at once, want 2", n)
		}
		if _, _, err := get(c, "document"); err != nil {
			t.Errorf("a document waits for bulk: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, Request{Connection: "r", URL: "p", Identity: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting request: %v", err)
		}
		io.Copy(io.Discard, <-bodies) // the end frees the place, without Close
		synctest.Wait()
		if n := len(h.requests()); n != 4 {
			t.Errorf("%d requests after one ended, want 4", n)
		}
		(<-bodies).Close()
		(<-bodies).Close()
		if n := c.Status()[0].Running; n != 0 {
			t.Errorf("%d places are still taken", n)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.serve(home, script(status(302, "Location", "/q"), status(200), status(404), status(503), status(200), status(304)))
		c := w.one(Connection{})
		get(c, "a")
		get(c, "b")
		get(c, "c")
		do(c, Request{URL: "d", ETag: "e"})
		if c.Dials() != 1 {
			t.Errorf("%d dials for six requests, want 1", c.Dials())
		}
	})
}

type states struct {
	noObserver
	mu  sync.Mutex
	all []State
}

func (s *states) Breaker(_, _ string, st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, st)
}

func (s *states) list() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
