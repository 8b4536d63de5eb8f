package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// Fifty clients come at random times and behave as clients do; the leader's
// client leaves early. One fetch, and everybody gets what they asked for.
func TestFollowers(t *testing.T) {
	body := content(1, fileSize)
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			k := newKitchen(t, Config{})
			o := &origin{body: body, validator: `"a"`, step: 3000, pace: 10 * time.Millisecond,
				faults: []fault{{cut: 90_000, err: errReset}}}
			asks := 0
			plan := func() Plan {
				if asks++; asks > 1 {
					t.Error("planned twice")
				}
				return o.plan()
			}
			var wg sync.WaitGroup
			for i := range 50 {
				rnd := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() {
					if i > 0 {
						time.Sleep(time.Millisecond + time.Duration(rnd.Int64N(int64(800*time.Millisecond))))
					}
					r, err := k.Fill(t.Context(), "key", plan)
					if err != nil {
						t.Error(err)
						return
					}
					defer r.Close()
					if r.Leader() != (i == 0) {
						t.Errorf("client %d: Leader = %v", i, r.Leader())
					}
					if i > 0 {
						follow(t, rnd, r, body)
					}
				})
			}
			wg.Wait()
			synctest.Wait()
			if n := o.attempts(); n != 2 {
				t.Errorf("%d attempts, want 2 (one break)", n)
			}
			if k.log.started != 1 || k.log.joined != 49 || k.log.done != 1 || k.log.resumed != 1 || k.log.got != fileSize {
				t.Errorf("events: %+v", &k.log)
			}
			if k.mem.commits != 1 {
				t.Errorf("%d commits", k.mem.commits)
			}
			k.close(o)
		})
	}
}

// follow is one client of random habits.
func follow(t *testing.T, rnd *rand.Rand, r *Reader, body []byte) {
	size := int64(len(body))
	off := rnd.Int64N(size + 1)
	n := rnd.Int64N(size - off + 1)
	var got collector
	var w io.Writer = &got
	if rnd.IntN(3) == 0 {
		w = slowly{&got}
	}
	var err error
	switch rnd.IntN(5) {
	case 0:
		_, err = r.WriteRange(t.Context(), w, off, n)
		off, body = 0, body[off:off+n]
	case 1: // leaves in the middle
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.Int64N(int64(time.Second))))
		defer cancel()
		if _, err = r.WriteRange(ctx, w, 0, -1); errors.Is(err, context.DeadlineExceeded) {
			err, body = nil, body[:len(got.b)]
		}
	case 2:
		got.b, err = io.ReadAll(r)
	case 3:
		got.b = make([]byte, n)
		_, err = r.ReadAt(got.b, off)
		body = body[off : off+n]
	default:
		_, err = r.WriteRange(t.Context(), w, 0, -1)
		if size := r.Size(); size != int64(len(body)) {
			t.Errorf("Size = %d at the end", size)
		}
	}
	if err != nil || !bytes.Equal(got.b, body) {
		t.Errorf("got %d bytes, want %d; error %v", len(got.b), len(body), err)
	}
}

type slowly struct{ w io.Writer }

func (s slowly) Write(p []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return s.w.Write(p)
}

// A byte is with every follower at the instant at which it arrives, up to the
// last block; ranges are served while the rest is still missing; the last block
// goes out after the commit.
func TestFirstByteAndHoldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{})
		o := &origin{body: content(2, fileSize), step: 10_000, gate: make(chan struct{})}
		plan := o.plan()
		committing := make(chan struct{})
		plan.Commit = func(*store.Batch, Result) error { <-committing; return nil }
		var got [10]collector
		var ranged collector
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				r, err := k.Fill(t.Context(), "key", func() Plan { return plan })
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if i == 0 {
					if _, err := r.WriteRange(t.Context(), &ranged, 15_000, 5000); err != nil {
						t.Error(err)
					}
				}
				if _, err := r.WriteRange(t.Context(), &got[i], 0, -1); err != nil {
					t.Error(err)
				}
			})
		}
		for sent := 0; ; {
			synctest.Wait()
			for i := range got {
				if want := min(sent, fileSize-hold); got[i].len() != want {
					if i == 0 && sent < 20_000 {
						continue // waits for its range first
					}
					t.Errorf("after %d bytes client %d has %d, want %d", sent, i, got[i].len(), want)
				}
			}
			if want := sent >= 20_000; (ranged.len() == 5000) != want {
				t.Errorf("after %d bytes the range has %d bytes", sent, ranged.len())
			}
			if sent == fileSize {
				break
			}
			o.gate <- struct{}{}
			sent += min(10_000, fileSize-sent)
		}
		o.gate <- struct{}{} // the end of the body
		synctest.Wait()
		if got[1].len() != fileSize-hold {
			t.Errorf("%d bytes went out before the commit", got[1].len())
		}
		close(committing)
		wg.Wait()
		if !bytes.Equal(got[1].b, o.body) || !bytes.Equal(ranged.b, o.body[15_000:20_000]) {
			t.Error("clients got other bytes")
		}
		k.close(o)
	})
}

// An empty file, a file of one byte and files around the hold-back.
func TestSmallFiles(t *testing.T) {
	for _, size := range []int{0, 1, hold - 1, hold, hold + 1} {
		for _, noTotal := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, Config{})
				o := &origin{body: content(3, size), noTotal: noTotal}
				got, res, err := drink(t, k, "key", o.plan())
				if err != nil || res.Size != int64(size) || !bytes.Equal(got, o.body) {
					t.Errorf("size %d: got %d bytes, Result %+v, error %v", size, len(got), res, err)
				}
				bad := &origin{body: content(3, size)}
				plan := bad.plan()
				plan.Want = func(context.Context, http.Header) (formats.Want, error) {
					return formats.Want{Digests: []formats.Digest{digest("sha256", []byte("x"))}}, nil
				}
				got, _, err = drink(t, k, "key", plan)
				if len(got) > max(0, size-hold) || !errors.As(err, new(*ErrVerify)) {
					t.Errorf("size %d: client got %d bytes of a wrong file, error %v", size, len(got), err)
				}
				k.close(o, bad)
			})
		}
	}
}

func TestReaderEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{})
		o := &origin{body: content(4, 1000)}
		r, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.WaitVerified(t.Context()); err != nil {
			t.Fatal(err)
		}
		var w collector
		for _, tc := range []struct {
			off, n, wrote int64
			err           error
		}{
			{0, -1, 1000, nil}, {0, 0, 0, nil}, {1000, -1, 0, nil}, {1000, 0, 0, nil}, {999, 1, 1, nil},
			{999, 2, 1, io.ErrUnexpectedEOF}, {1001, -1, 0, ErrRange}, {-1, -1, 0, ErrRange},
		} {
			if n, err := r.WriteRange(t.Context(), &w, tc.off, tc.n); n != tc.wrote || err != tc.err {
				t.Errorf("WriteRange(%d, %d) = %d, %v; want %d, %v", tc.off, tc.n, n, err, tc.wrote, tc.err)
			}
		}
		p := make([]byte, 20)
		if n, err := r.ReadAt(p, 990); n != 10 || err != io.EOF {
			t.Errorf("ReadAt over the end = %d, %v", n, err)
		}
		if d := r.Digests(); len(d) != 3 || r.Header().Get("Etag") != "" && r.Size() != 1000 {
			t.Errorf("Digests %v, Size %d", d, r.Size())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.WriteRange(ctx, &w, 0, 10); err != context.Canceled {
			t.Errorf("WriteRange with a cancelled context: %v", err)
		}
		r.Close()
		r.Close()
		if _, err := r.ReadAt(p, 0); err != ErrClosed {
			t.Errorf("ReadAt after Close: %v", err)
		}
		if _, err := r.WaitVerified(t.Context()); err != ErrClosed {
			t.Errorf("WaitVerified after Close: %v", err)
		}
		k.close(o)
		if _, err := k.Fill(t.Context(), "key", o.plan); err != ErrAborted {
			t.Errorf("Fill after Close: %v", err)
		}
	})
}

// Close of one Reader from elsewhere ends its calls and nobody else's.
func TestCloseWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{})
		o := &origin{body: content(5, fileSize), gate: make(chan struct{})}
		a, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.Fill(t.Context(), "key", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { time.Sleep(time.Second); a.Close() }()
		if _, err := a.Read(make([]byte, 1)); err != ErrClosed {
			t.Errorf("Read of a closed Reader: %v", err)
		}
		close(o.gate)
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, o.body) {
			t.Errorf("the other Reader got %d bytes, error %v", len(got), err)
		}
		b.Close()
		k.close(o)
	})
}

// A plan that finds the blob held asks nobody; one that is wrong about it does.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{})
		o := &origin{body: content(6, fileSize)}
		_, res, err := drink(t, k, "key", o.plan())
		if err != nil {
			t.Fatal(err)
		}
		for i, tc := range []struct {
			sum      store.Sum
			attempts int
		}{{res.Sum, 1}, {store.Sum{1}, 2}} {
			plan := o.plan()
			plan.Held = &Result{Sum: tc.sum, Header: http.Header{"A": {"b"}}}
			got, again, err := drink(t, k, "key", plan)
			if err != nil || !bytes.Equal(got, o.body) || !again.Kept || again.Size != fileSize {
				t.Errorf("%d: got %d bytes, %+v, error %v", i, len(got), again, err)
			}
			if o.attempts() != tc.attempts {
				t.Errorf("%d: %d attempts, want %d", i, o.attempts(), tc.attempts)
			}
		}
		r, err := k.Open(t.Context(), res)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, o.body) || r.Leader() {
			t.Errorf("Open: %d bytes, error %v", len(got), err)
		}
		r.Close()
		if _, err := k.Open(t.Context(), Result{}); err != store.ErrNotFound {
			t.Errorf("Open of nothing: %v", err)
		}
		k.close(o)
	})
}

// Between the end of one flight and the next plan there is no gap: clients that
// look first whether the blob is held never cause a second fetch.
func TestNoSecondFetch(t *testing.T) {
	for range 50 {
		k := newKitchen(t, Config{})
		o := &origin{body: content(7, 1000)}
		var mu sync.Mutex
		var held *Result
		plan := func() Plan {
			p := o.plan()
			mu.Lock()
			defer mu.Unlock()
			p.Held = held
			p.Commit = func(_ *store.Batch, res Result) error {
				mu.Lock()
				defer mu.Unlock()
				held = &res
				return nil
			}
			return p
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					r, err := k.Fill(context.Background(), "key", plan)
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, o.body) {
						t.Errorf("got %d bytes, error %v", len(got), err)
					}
					r.Close()
				}
			})
		}
		wg.Wait()
		if o.attempts() != 1 {
			t.Fatalf("%d fetches, want 1", o.attempts())
		}
		k.close(o)
	}
}

func TestEveryClientLeaves(t *testing.T) {
	const pace = time.Second // for each tenth of the file
	for _, tc := range []struct {
		name    string
		cfg     Config
		stay    time.Duration
		noTotal bool
		back    time.Duration // somebody comes again, after so long
		kept    bool
	}{
		{"always finishes", Config{}, 1500 * time.Millisecond, false, 0, true},
		{"abandoned", Config{Abandon: true, Grace: time.Second}, 1500 * time.Millisecond, false, 0, false},
		{"before anything came", Config{Abandon: true, Grace: time.Second / 4}, time.Second / 4, true, 0, false},
		{"more than half", Config{Abandon: true, Grace: time.Second}, 5500 * time.Millisecond, false, 0, true},
		{"size unknown", Config{Abandon: true, Grace: time.Second}, 1500 * time.Millisecond, true, 0, true},
		{"somebody comes back", Config{Abandon: true, Grace: time.Second}, 1500 * time.Millisecond, false, time.Second / 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, tc.cfg)
				o := &origin{body: content(8, fileSize), noTotal: tc.noTotal, step: fileSize / 10, pace: pace}
				plan := o.plan()
				plan.Want = nil // it would tell the size
				r, err := k.Fill(t.Context(), "key", func() Plan { return plan })
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(tc.stay)
				r.Close()
				if tc.back > 0 {
					time.Sleep(tc.back)
					if r, err = k.Fill(t.Context(), "key", nil); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
					r.Close()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if (k.mem.commits == 1) != tc.kept {
					t.Errorf("kept: %v", !tc.kept)
				}
				if !tc.kept && !errors.Is(k.log.lastErr, ErrAborted) {
					t.Errorf("error = %v", k.log.lastErr)
				}
				k.close(o)
			})
		})
	}
}

func TestCacheCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{})
		o := &origin{body: content(9, fileSize), step: 1000, pace: time.Second}
		done := &origin{body: content(9, fileSize)}
		held, err := k.Fill(t.Context(), "done", done.plan)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.WaitVerified(t.Context()); err != nil {
			t.Fatal(err)
		}
		plan := o.plan()
		plan.Want = func(ctx context.Context, _ http.Header) (formats.Want, error) {
			<-ctx.Done()
			return formats.Want{}, ctx.Err()
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, _, err := drink(t, k, "key", plan); !errors.Is(err, ErrAborted) {
					t.Errorf("a running download ended with %v", err)
				}
			})
		}
		time.Sleep(10 * time.Second)
		k.close(o, done) // although held is open
		wg.Wait()
		if _, err := held.ReadAt(make([]byte, 1), 0); err != ErrAborted {
			t.Errorf("ReadAt after Close of the cache: %v", err)
		}
		held.Close()
	})
}

// Observers that panic cost an error, never the process.
func TestObserverPanics(t *testing.T) {
	boom := func() { panic("boom") }
	for _, tc := range []struct {
		name  string
		set   func(*Observer)
		fails bool
	}{
		{"Started", func(o *Observer) { o.Started = func(string) { boom() } }, true},
		{"Bytes", func(o *Observer) { o.Bytes = func(int) { boom() } }, true},
		{"Resumed", func(o *Observer) { o.Resumed = func(string, int64, error) { boom() } }, true},
		{"Finished", func(o *Observer) { o.Finished = func(string, Result, time.Duration) { boom() } }, false},
		{"Failed", func(o *Observer) {
			o.Started = func(string) { boom() }
			o.Failed = func(string, error, time.Duration) { boom() }
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKitchen(t, Config{})
			tc.set(&k.cfg.Observer)
			o := &origin{body: content(11, fileSize), validator: `"a"`, faults: []fault{{cut: 10, err: errReset}}}
			if _, _, err := drink(t, k, "key", o.plan()); (err != nil) != tc.fails {
				t.Errorf("%s panics: error %v", tc.name, err)
			}
			k.close(o)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{})
		k.cfg.Observer.Joined = func(string) { boom() }
		o := &origin{body: content(11, fileSize)}
		r, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Fill(t.Context(), "key", nil); err == nil {
			t.Error("Joined panics: no error")
		}
		if got, err := io.ReadAll(r); err != nil || len(got) != fileSize {
			t.Errorf("the other client got %d bytes, %v", len(got), err)
		}
		r.Close()
		k.close(o)
	})
}

// A few bytes that came reach an HTTP client though nothing fills its buffers.
func TestTrickleIsFlushed(t *testing.T) {
	k := newKitchen(t, Config{})
	o := &origin{body: content(10, fileSize), step: 10, gate: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, rq *http.Request) {
		r, err := k.Fill(rq.Context(), "key", o.plan)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		if _, err := r.WriteRange(rq.Context(), w, 0, -1); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	go func() { o.gate <- struct{}{}; o.gate <- struct{}{} }()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p := make([]byte, 20)
	if _, err := io.ReadFull(resp.Body, p); err != nil || !bytes.Equal(p, o.body[:20]) {
		t.Fatalf("first bytes: %v", err)
	}
	close(o.gate)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(rest, o.body[20:]) {
		t.Errorf("rest: %d bytes, error %v", len(rest), err)
	}
	k.close(o)
}

// Thirty flights of 32 MiB are in the air at once, each with a follower, and no
// body is in memory.
func TestMemory(t *testing.T) {
	const flights, arrived, size = 30, 4 << 20, 32 << 20
	base := heap()
	c := cacheOver(t, Config{}, nowhere{}, new(events))
	var here, wg sync.WaitGroup
	here.Add(flights)
	for i := range flights {
		body := &endless{left: arrived, here: here.Done}
		r, err := c.Fill(t.Context(), fmt.Sprint(i), func() Plan {
			return Plan{Open: func(ctx context.Context, _ int64, _ string) (*Part, error) {
				body.ctx = ctx
				return &Part{Body: body, Total: size}, nil
			}}
		})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer r.Close()
			if _, err := r.WriteRange(t.Context(), io.Discard, 0, -1); !errors.Is(err, ErrAborted) {
				t.Errorf("follower: %v", err)
			}
		})
	}
	here.Wait()
	used := heap() - base
	t.Logf("%d flights hold %d KiB each", flights, used>>10/flights)
	if used > flights<<20 {
		t.Errorf("%d flights use %d MiB", flights, used>>20)
	}
	c.Close()
	wg.Wait()
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// endless is a body that stops in the middle.
type endless struct {
	ctx  context.Context
	left int
	here func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		e.here()
		<-e.ctx.Done()
		return 0, e.ctx.Err()
	}
	n := min(len(p), e.left)
	e.left -= n
	return n, nil
}

func (e *endless) Close() error { return nil }

// nowhere is a store that forgets.
type nowhere struct{ blobs }

func (nowhere) create(context.Context, int64) (spool, error) { return &nowhereSpool{}, nil }

type nowhereSpool struct {
	spool
	mu sync.Mutex
	n  int64
}

func (s *nowhereSpool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += int64(len(p))
	return len(p), nil
}
func (s *nowhereSpool) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (s *nowhereSpool) Release()                              {}
