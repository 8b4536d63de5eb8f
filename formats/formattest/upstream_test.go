package formattest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func fetch(t *testing.T, url string) (status int, body string, err error) {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > 5 {
			return errors.New("redirect loop")
		}
		return nil
	}}
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b), err
}

func hello() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
		rw.Header().Set("ETag", `"e"`)
		http.ServeContent(rw, rq, "f.txt", time.Time{}, strings.NewReader("0123456789"))
	})
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  Fault
		status int
		body   string
		fails  string
	}{
		{"truncate", Truncate(4), 200, "0123", "unexpected EOF"},
		{"truncate beyond", Truncate(40), 200, "0123456789", ""},
		{"shorten", Shorten(4), 200, "0123", ""},
		{"lengthen", Lengthen(2), 200, "0123456789++", ""},
		{"corrupt", Corrupt(0), 200, "1123456789", ""},
		{"corrupt the end", Corrupt(-1), 200, "0123456788", ""},
		{"replace", Replace([]byte("other")), 200, "other", ""},
		{"overrun", Overrun(100), 200, "0123456789", ""},
		{"html", HTML(), 200, "<!DOCTYPE html>", ""},
		{"status", Status(429, "Retry-After", "2"), 429, "429 Too Many Requests", ""},
		{"reset", Reset(), 0, "", "EOF"},
		{"loop", RedirectLoop(), 0, "", "redirect loop"},
		{"redirect", Redirect(302, "http://127.0.0.1:1/"), 0, "", "refused"},
		{"endless", Endless([]byte("x")), 200, strings.Repeat("x", 1<<20), ""},
		{"slow", Slow(time.Millisecond, 1<<20), 200, "0123456789", ""},
		{"none left", Times(0, Reset()), 200, "0123456789", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := Serve(t, hello())
			u.Break(OnSuffix(".txt"), tc.fault)
			status, body, err := fetch(t, u.URL+"/f.txt")
			if status != tc.status || !strings.HasPrefix(body, tc.body) || len(tc.body) == 10 && len(body) != 10 {
				t.Errorf("got %d %q, want %d %q", status, clip([]byte(body)), tc.status, clip([]byte(tc.body)))
			}
			if (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("error %v, want %q", err, tc.fails)
			}
			if _, body, err := fetch(t, u.URL+"/other"); body != "0123456789" {
				t.Errorf("a path that does not match: %q, %v", body, err)
			}
			u.Heal()
			if _, body, err := fetch(t, u.URL+"/f.txt"); body != "0123456789" {
				t.Errorf("healed: %q, %v", body, err)
			}
		})
	}
}

func TestHangs(t *testing.T) {
	for _, n := range []int{-1, 4} {
		u := Serve(t, hello())
		f, release := Hang()
		if n >= 0 {
			f, release = HangBody(n)
		}
		u.Break(OnAny(), f)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, body, err := fetch(t, u.URL+"/a"); body != "0123456789" {
				t.Errorf("released: %q, %v", body, err)
			}
		})
		u.Await("/a", 1)
		release()
		release()
		wg.Wait()

		f, _ = Hang()
		u.Break(OnPath("/b"), f)
		wg.Go(func() {
			if _, _, err := fetch(t, u.URL+"/b"); err == nil {
				t.Error("stopped upstream answered")
			}
		})
		u.Await("/b", 1)
		u.Stop() // ends what hangs
		wg.Wait()
	}
}

func TestStopAndStart(t *testing.T) {
	u := Serve(t, hello())
	url := u.URL
	for range 3 {
		if _, body, err := fetch(t, url+"/a%20b?q=1"); body != "0123456789" {
			t.Fatal(err)
		}
		u.Stop()
		u.Stop()
		if _, _, err := fetch(t, url+"/down"); err == nil {
			t.Fatal("answers while down")
		}
		u.Start()
		u.Start()
	}
	if u.URL != url || u.Count("/a%20b") != 3 || u.Count("/down") != 0 || u.Total() != 3 || u.Bytes() != 30 {
		t.Errorf("%s (was %s): %d of %d requests, %d bytes", u.URL, url, u.Count("/a%20b"), u.Total(), u.Bytes())
	}
	if got := u.Requests(); len(got) != 3 || got[0].Method != "GET" || got[0].Query != "q=1" || got[0].Header.Get("User-Agent") == "" {
		t.Errorf("log %+v", got)
	}
	u.Reset()
	if u.Total() != 0 || len(u.Requests()) != 0 {
		t.Error("not reset")
	}
}

func TestTimesAndOrder(t *testing.T) {
	u := Serve(t, hello())
	heal := u.Break(OnAny(), Status(404))
	u.Break(OnPrefix("/x"), Times(2, Status(503)))
	for i, want := range []int{503, 503, 200} {
		if got, _, _ := fetch(t, u.URL+"/x"); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	if got, _, _ := fetch(t, u.URL+"/y"); got != 404 {
		t.Errorf("older fault: %d", got)
	}
	heal()
	if got, _, _ := fetch(t, u.URL+"/y"); got != 200 {
		t.Errorf("healed: %d", got)
	}
}

// Endless must not need memory and must end with its client.
func TestEndlessEnds(t *testing.T) {
	u := Serve(t, hello())
	u.Break(OnAny(), Endless(bytes.Repeat([]byte("["), 1000), "Content-Type", "application/json"))
	resp, err := http.Get(u.URL)
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, resp.Body, 8<<20)
	resp.Body.Close()
	u.Stop()
	if u.Bytes() > 256<<20 {
		t.Errorf("sent %d bytes to a client that left", u.Bytes())
	}
}
