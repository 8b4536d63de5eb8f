package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHangs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve func(w *world)
		took  time.Duration
		want  string
	}{
		{"connect", func(w *world) { w.listen(home).silent = true }, 3*5*time.Second + 150*time.Millisecond, "no connection within 5s"},
		{"before header", func(w *world) {
			w.serveRaw(home, func(c net.Conn, _ *http.Request) { io.Copy(io.Discard, c) })
		}, 30 * time.Second, "timeout awaiting response headers"},
		{"inside header", func(w *world) {
			w.serveRaw(home, func(c net.Conn, _ *http.Request) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nA: ")
				io.Copy(io.Discard, c)
			})
		}, 30 * time.Second, "timeout awaiting response headers"},
		{"header drop by drop", func(w *world) {
			w.serveRaw(home, func(c net.Conn, _ *http.Request) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nA: ")
				for {
					if _, err := io.WriteString(c, "a"); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		}, 30 * time.Second, "timeout awaiting response headers"},
		{"after 1xx for ever", func(w *world) {
			w.serveRaw(home, func(c net.Conn, _ *http.Request) {
				for {
					if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		}, 30 * time.Second, "timeout awaiting response headers"},
		{"in the body", func(w *world) {
			w.serveRaw(home, func(c net.Conn, _ *http.Request) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
				io.Copy(io.Discard, c)
			})
		}, 60 * time.Second, "after 3 bytes: no bytes of the body in time (1m0s)"},
		{"in the gzip body", func(w *world) {
			w.serveRaw(home, func(c net.Conn, _ *http.Request) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\x1f\x8b")
				io.Copy(io.Discard, c)
			})
		}, 60 * time.Second, "no bytes of the body in time"},
		{"in a redirect's body", func(w *world) {
			w.serveRaw(home, func(c net.Conn, rq *http.Request) {
				io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 10\r\n\r\nabc")
				io.Copy(io.Discard, c)
			})
		}, 250 * time.Millisecond, "not public"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.name("registry.example", "93.184.216.34")
				tc.serve(w)
				c := w.one(Connection{})
				began := time.Now()
				_, _, err := get(c, "p")
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want %q", err, tc.want)
				}
				if d := time.Since(began); d != tc.took {
					t.Errorf("took %v, want %v", d, tc.took)
				}
			})
		})
	}
}

// Slow is not dead: neither a slow upstream nor a slow reader is cut off.
func TestSlowBodies(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.serveRaw(home, func(c net.Conn, _ *http.Request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			for range 5 {
				time.Sleep(59 * time.Second)
				io.WriteString(c, "x")
			}
		})
		c := w.one(Connection{})
		resp, err := c.Do(context.Background(), Request{Connection: "r", URL: "p", Identity: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		p := make([]byte, 1)
		for {
			time.Sleep(5 * time.Minute)
			n, err := resp.Body.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != "xxxxx" {
			t.Errorf("got %q", got)
		}
	})
}

// Close from another goroutine ends a Read that hangs.
func TestCloseWakesRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.serveRaw(home, func(c net.Conn, _ *http.Request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			io.Copy(io.Discard, c)
		})
		c := w.one(Connection{})
		resp, err := c.Do(context.Background(), Request{Connection: "r", URL: "p"})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		began := time.Now()
		go func() { _, err := resp.Body.Read(make([]byte, 9)); done <- err }()
		synctest.Wait()
		resp.Body.Close()
		if err := <-done; err == nil || time.Since(began) != 0 {
			t.Errorf("read ended with %v after %v", err, time.Since(began))
		}
	})
}
