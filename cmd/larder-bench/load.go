package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func discardAll(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

// rates is what one load measured.
type rates struct {
	perSecond float64       // requests
	bytes     float64       // body bytes a second
	cpu       time.Duration // of the server
	moved     int64         // body bytes
}

// load keeps conns connections busy with one request for d. The client is as
// thin as it can be, since it shares the machine with the server.
func load(ctx context.Context, p *peer, path string, conns int, d time.Duration, header ...string) (rates, error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return rates{}, err
	}
	rq := "GET " + path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: bench\r\n"
	for i := 0; i+1 < len(header); i += 2 {
		rq += header[i] + ": " + header[i+1] + "\r\n"
	}
	rq += "\r\n"
	var done, moved atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, conns)
	end := time.Now().Add(d)
	cpu := p.cpu()
	start := time.Now()
	for range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := hammer(ctx, u.Host, []byte(rq), end, &done, &moved); err != nil {
				errs <- err
			}
		}()
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return rates{}, fmt.Errorf("%s %s: %w", p.name, path, err)
	default:
	}
	return rates{float64(done.Load()) / took.Seconds(), float64(moved.Load()) / took.Seconds(), p.cpu() - cpu, moved.Load()}, nil
}

func hammer(ctx context.Context, host string, rq []byte, end time.Time, done, moved *atomic.Int64) error {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return err
	}
	defer conn.Close()
	// A server that says nothing must not stop the bench.
	conn.SetDeadline(end.Add(20 * time.Second))
	r := bufio.NewReaderSize(conn, 256<<10)
	for time.Now().Before(end) && ctx.Err() == nil {
		if _, err := conn.Write(rq); err != nil {
			return err
		}
		n, err := response(r)
		if err != nil {
			return err
		}
		done.Add(1)
		moved.Add(n)
	}
	return nil
}

// response reads one HTTP/1.1 response and returns the body's length.
func response(r *bufio.Reader) (int64, error) {
	length, chunked := int64(-1), false
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return 0, fmt.Errorf("answer %q", strings.TrimSpace(string(line)))
		}
		if len(line) <= 2 {
			break
		}
		if len(line) > 16 && (line[0] == 'C' || line[0] == 'c') && bytes.EqualFold(line[:15], []byte("Content-Length:")) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(line[15:])), 10, 64); err != nil {
				return 0, err
			}
		}
		if bytes.HasPrefix(bytes.ToLower(line), []byte("transfer-encoding: chunked")) {
			chunked = true
		}
	}
	if !chunked {
		if length < 0 {
			return 0, fmt.Errorf("an answer without a length")
		}
		n, err := r.Discard(int(length))
		return int64(n), err
	}
	var total int64
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return total, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return total, err
		}
		if _, err := r.Discard(int(n) + 2); err != nil {
			return total, err
		}
		if n == 0 {
			return total, nil
		}
		total += n
	}
}

// stampede is what many clients saw who asked for one thing at one moment.
type stampede struct {
	first []time.Duration // to each client's first body byte, sorted
	last  time.Duration   // until the last client was done
	bytes int64
}

func (s stampede) spread() time.Duration { return s.first[len(s.first)-1] - s.first[0] }
func (s stampede) median() time.Duration { return s.first[len(s.first)/2] }

func rush(p *peer, path string, clients int, header ...string) (stampede, error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return stampede{}, err
	}
	rq := "GET " + path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nConnection: close\r\n"
	for i := 0; i+1 < len(header); i += 2 {
		rq += header[i] + ": " + header[i+1] + "\r\n"
	}
	rq += "\r\n"
	conns := make([]net.Conn, clients)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", u.Host); err != nil {
			return stampede{}, err
		}
		defer conns[i].Close()
	}
	out := stampede{first: make([]time.Duration, clients)}
	sizes := make([]int64, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for i, c := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out.first[i], sizes[i], errs[i] = follow(c, rq, start)
		}()
	}
	wg.Wait()
	out.last = time.Since(start)
	for i := range errs {
		if errs[i] != nil {
			return out, errs[i]
		}
		if sizes[i] != sizes[0] {
			return out, fmt.Errorf("clients got %d and %d bytes", sizes[0], sizes[i])
		}
	}
	out.bytes = sizes[0]
	slices.Sort(out.first)
	return out, nil
}

func follow(c net.Conn, rq string, start time.Time) (first time.Duration, size int64, err error) {
	if _, err := io.WriteString(c, rq); err != nil {
		return 0, 0, err
	}
	r := bufio.NewReaderSize(c, 64<<10)
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if n == 0 && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return 0, 0, fmt.Errorf("answer %q", strings.TrimSpace(string(line)))
		}
		if len(line) <= 2 {
			break
		}
	}
	if _, err := r.ReadByte(); err != nil {
		return 0, 0, err
	}
	first = time.Since(start)
	size, err = discardAll(r)
	return first, size + 1, err
}
