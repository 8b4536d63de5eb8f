package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"larder/cache/store"
	"larder/formats"
)

const (
	bigSize = 2 << 20
	small   = 4 * bufferSize // the least
)

// The store is full before the first byte, at odd places and at the very end;
// several clients at several speeds; a good and a wrong digest.
func TestThrough(t *testing.T) {
	body := content(1, bigSize)
	for _, room := range []int{0, 1, bufferSize + 1, bigSize / 2, bigSize - hold, bigSize - 1} {
		for _, wrong := range []bool{false, true} {
			for _, noTotal := range []bool{false, true} {
				t.Run(fmt.Sprintf("room %d wrong %v unknown %v", room, wrong, noTotal), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						k := newKitchen(t, Config{Window: 1})
						k.mem.room = room
						if room == 0 {
							k.mem.createErr = store.ErrFull
						}
						o := &origin{body: body, step: 50_000, noTotal: noTotal}
						plan := o.plan()
						plan.Inspect = func(context.Context, formats.File, Result) { t.Error("inspects what it cannot keep") }
						if wrong {
							plan.Want = func(context.Context, http.Header) (formats.Want, error) {
								return formats.Want{Digests: []formats.Digest{digest("md5", nil)}}, nil
							}
						}
						var wg sync.WaitGroup
						var ready sync.WaitGroup
						ready.Add(4)
						gate := make(chan struct{})
						o.gate = gate
						for i := range 4 {
							wg.Go(func() {
								r, err := k.Fill(t.Context(), "key", func() Plan { return plan })
								ready.Done()
								if err != nil {
									t.Error(err)
									return
								}
								defer r.Close()
								got := collector{b: make([]byte, 0, bigSize)}
								var w io.Writer = &got
								if i == 0 {
									w = slowly{&got}
								}
								_, err = r.WriteRange(t.Context(), w, 0, -1)
								var res Result
								if err == nil {
									res, err = r.WaitVerified(t.Context())
								}
								if errors.As(err, new(*ErrVerify)) != wrong || !wrong && err != nil {
									t.Errorf("client %d: %v", i, err)
								}
								if res.Kept {
									t.Error("kept in a full store")
								}
								if !wrong {
									checkOutcome(t, k, body, nil, got.b, res, err)
								} else if !bytes.HasPrefix(body, got.b) || len(got.b) > bigSize-hold {
									t.Errorf("client got %d bytes of a wrong file", len(got.b))
								}
							})
						}
						ready.Wait()
						close(gate)
						wg.Wait()
						synctest.Wait()
						if k.log.through != 1 || o.attempts() != 1 {
							t.Errorf("%d times in through mode, %d attempts", k.log.through, o.attempts())
						}
						k.close(o)
					})
				})
			}
		}
	}
}

// Breaks are resumed in through mode too, also by skipping and comparing what
// has long passed.
func TestThroughResumes(t *testing.T) {
	body := content(2, bigSize)
	other := bytes.Clone(body)
	other[100] ^= 1
	for _, tc := range []struct {
		name   string
		second fault
		valid  string
		wrong  bool
	}{
		{"206", clean(), `"a"`, false},
		{"200", clean(), "", false},
		{"200 with other bytes", fault{cut: -1, body: other}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, Config{Window: 1})
				k.mem.room = bigSize / 4
				o := &origin{body: body, validator: tc.valid, faults: []fault{{cut: bigSize * 3 / 4, err: errReset}, tc.second}}
				got, res, err := drink(t, k, "key", o.plan())
				if errors.As(err, new(*ErrVerify)) != tc.wrong || !tc.wrong && err != nil {
					t.Errorf("error = %v, want one of verification: %v", err, tc.wrong)
				}
				checkOutcome(t, k, body, nil, got, res, err)
				k.close(o)
			})
		})
	}
}

// What a window holds is bounded; a client that does not read is cut off after
// Patience, and the others get everything.
func TestThroughSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{Window: 1, Patience: time.Minute})
		k.mem.room = bigSize / 4
		o := &origin{body: content(3, bigSize), step: 50_000}
		idle, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.Fill(t.Context(), "key", nil)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, o.body) {
			t.Errorf("got %d bytes, error %v", len(got), err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("held up for %v, want a minute", took)
		}
		if _, err := idle.Read(make([]byte, 1)); err != ErrGone {
			t.Errorf("the idle client reads: %v", err)
		}
		r.Close()
		idle.Close()
		k.close(o)
	})
}

// While nothing reads, the flight takes no more than its window from upstream.
func TestThroughBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{Window: 1, Patience: time.Hour})
		k.mem.createErr = store.ErrFull
		o := &origin{body: content(4, bigSize), step: 50_000}
		r, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := k.log.got; got > small+bufferSize || got < small/2 {
			t.Errorf("took %d bytes ahead of its client", got)
		}
		// A Range further on lets the beginning go, and it is gone.
		p := make([]byte, 1000)
		if _, err := r.ReadAt(p, bigSize/2); err != nil || !bytes.Equal(p, o.body[bigSize/2:][:1000]) {
			t.Errorf("range: %v", err)
		}
		if _, err := r.ReadAt(p, 0); err != ErrGone {
			t.Errorf("bytes that passed: %v", err)
		}
		// Whoever comes now cannot be served from here.
		o2 := &origin{body: o.body}
		plan2 := o2.plan()
		late, err := k.Fill(t.Context(), "key", func() Plan { return plan2 })
		if err != nil || !late.Leader() {
			t.Fatalf("late client: %v", err)
		}
		if got, err := io.ReadAll(late); err != nil || !bytes.Equal(got, o.body) {
			t.Errorf("late client got %d bytes, error %v", len(got), err)
		}
		late.Close()
		r.Close() // and now nobody wants it
		synctest.Wait()
		if !errors.Is(k.log.lastErr, ErrAborted) {
			t.Errorf("the flight nobody wants ended with %v", k.log.lastErr)
		}
		k.close(o, o2)
	})
}

// A client that only waits for the outcome does not hold anybody up.
func TestThroughWaitVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{Window: 1, Patience: time.Hour})
		k.mem.room = bigSize / 4
		o := &origin{body: content(5, bigSize)}
		r, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if res, err := r.WaitVerified(t.Context()); err != nil || res.Size != bigSize || res.Kept {
			t.Errorf("WaitVerified = %+v, %v", res, err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
		r.Close()
		k.close(o)
	})
}

// Nobody is there when the store gets full: the flight ends.
func TestThroughWithoutClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{Window: 1})
		k.mem.room = bigSize / 4
		o := &origin{body: content(6, bigSize), pace: time.Second}
		r, err := k.Fill(t.Context(), "key", o.plan)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		time.Sleep(time.Hour)
		synctest.Wait()
		if !errors.Is(k.log.lastErr, ErrAborted) || !errors.Is(k.log.lastErr, store.ErrFull) {
			t.Errorf("ended with %v", k.log.lastErr)
		}
		k.close(o)
	})
}

// A file that must be checked as a whole is kept in memory, if there is enough.
func TestThroughWhole(t *testing.T) {
	for _, memory := range []int64{bigSize, bigSize / 4} {
		synctest.Test(t, func(t *testing.T) {
			k := newKitchen(t, Config{Window: 1, WholeMemory: memory})
			k.mem.room = 300_000
			o := &origin{body: content(7, bigSize), step: 40_000}
			plan := o.plan()
			plan.Want = func(context.Context, http.Header) (formats.Want, error) { return formats.Want{Whole: true}, nil }
			plan.Algs = []formats.Alg{formats.SHA512}
			plan.Check = func(_ context.Context, f formats.File, _ formats.Want, _ []formats.Digest) error {
				rnd := rand.New(rand.NewPCG(1, 1))
				for range 100 {
					off, p := rnd.Int64N(bigSize), make([]byte, rnd.IntN(400_000))
					n, err := f.ReadAt(p, off)
					if err != nil && err != io.EOF || !bytes.Equal(p[:n], o.body[off:off+int64(n)]) || n < len(p) && off+int64(n) != bigSize {
						return fmt.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
					}
				}
				return nil
			}
			got, res, err := drink(t, k, "key", plan)
			if enough := memory == bigSize; enough != (err == nil) || !enough && !errors.Is(err, store.ErrFull) {
				t.Errorf("with %d bytes of memory: %v", memory, err)
			}
			checkOutcome(t, k, o.body, nil, got, res, err)
			k.close(o)
		})
	}
}

// The digests that Want names late are right although the spool ended early.
func TestThroughLateWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{Window: 1})
		k.mem.room = bigSize / 4
		o := &origin{body: content(8, bigSize), step: 50_000}
		plan := o.plan()
		want := plan.Want
		plan.Algs = nil
		plan.Want = func(ctx context.Context, h http.Header) (formats.Want, error) {
			time.Sleep(time.Hour)
			return want(ctx, h)
		}
		got, res, err := drink(t, k, "key", plan)
		checkOutcome(t, k, o.body, nil, got, res, err)
		k.close(o)
	})
}
