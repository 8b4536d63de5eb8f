package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkOverhead compares a request through this package with one through a
// bare http.Client, over loopback.
func BenchmarkOverhead(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		payload := bytes.Repeat([]byte("x"), size)
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header()["Content-Type"] = []string{"application/octet-stream"}
			rw.Write(payload)
		}))
		defer srv.Close()
		buf := make([]byte, 32<<10)
		drain := func(b *testing.B, r io.ReadCloser) {
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
			r.Close()
			if err != nil || n != int64(size) {
				b.Fatal(n, err)
			}
		}
		b.Run(fmt.Sprintf("bare/%d", size), func(b *testing.B) {
			c := &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: 32 << 10}}
			defer c.CloseIdleConnections()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				rq, _ := http.NewRequestWithContext(context.Background(), "GET", srv.URL+"/p", nil)
				resp, err := c.Do(rq)
				if err != nil {
					b.Fatal(err)
				}
				drain(b, resp.Body)
			}
		})
		b.Run(fmt.Sprintf("upstream/%d", size), func(b *testing.B) {
			c, err := New(Config{Connections: []Connection{{Name: "r", URL: srv.URL + "/", Token: "t", Proxy: "none"}}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				resp, err := c.Do(context.Background(), Request{Connection: "r", URL: srv.URL + "/p", Identity: true})
				if err != nil {
					b.Fatal(err)
				}
				drain(b, resp.Body)
			}
		})
	}
}
