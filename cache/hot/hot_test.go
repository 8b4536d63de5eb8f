package hot

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func open(t testing.TB, cfg Config) *Cache[[]byte] {
	t.Helper()
	c, err := NewCache[[]byte](cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAddGetDel(t *testing.T) {
	c := open(t, Config{MaxBytes: 4 << 20, Metrics: true})
	if _, ok := c.Get("k"); ok {
		t.Fatal("empty cache answers")
	}
	if !c.Add("k", []byte("v"), 1) {
		t.Fatal("Add refused by an empty cache")
	}
	c.Wait()
	if v, ok := c.Get("k"); !ok || string(v) != "v" {
		t.Fatalf("Get = %q, %v", v, ok)
	}
	if s := c.Stats(); s.Hits != 1 || s.Misses != 1 || s.Items != 1 || s.Bytes != charge("k", 1) {
		t.Errorf("Stats = %+v", s)
	}
	c.Del("k")
	c.Wait()
	if _, ok := c.Get("k"); ok {
		t.Error("deleted key answers")
	}
	if s := c.Stats(); s.Items != 0 || s.Bytes != 0 {
		t.Errorf("after Del: %+v", s)
	}
}

// A Del that comes while the Add is still queued wins.
func TestDelOfQueued(t *testing.T) {
	c := open(t, Config{MaxBytes: 4 << 20})
	for i := range 1000 {
		k := fmt.Sprint(i)
		c.Add(k, nil, 10)
		c.Del(k)
	}
	c.Wait()
	for i := range 1000 {
		if _, ok := c.Get(fmt.Sprint(i)); ok {
			t.Fatalf("key %d survived its Del", i)
		}
	}
	if s := c.Stats(); s.Items != 0 || s.Bytes != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// Ristretto keeps the old value when a fresh key is set twice in a row, and
// the new one when the key is settled. Here it is always the first.
func TestFirstValueStays(t *testing.T) {
	c := open(t, Config{MaxBytes: 4 << 20})
	for i := range 2000 {
		k := fmt.Sprint(i)
		c.Add(k, []byte("first"), 5)
		if i%2 == 0 {
			c.Wait()
		}
		c.Add(k, []byte("second"), 5)
	}
	c.Wait()
	held := 0
	for i := range 2000 {
		v, ok := c.Get(fmt.Sprint(i))
		if ok && string(v) != "first" {
			t.Fatalf("key %d holds %q", i, v)
		}
		if ok {
			held++
		}
	}
	if s := c.Stats(); held == 0 || s.Items != int64(held) {
		t.Errorf("%d keys answer, Stats %+v", held, s)
	}
}

func TestItemLimit(t *testing.T) {
	c := open(t, Config{MaxBytes: 8 << 20, MaxItem: 1000})
	for _, tc := range []struct {
		key  string
		cost int64
		want bool
	}{
		{"k", 999, true}, {"k2", 999, false}, {"k3", 1 << 40, false},
		{"k4", -1, false}, {strings.Repeat("k", 1001), 0, false}, {"", 0, true},
	} {
		if got := c.Add(tc.key, nil, tc.cost); got != tc.want {
			t.Errorf("Add(%.5q, %d) = %v, want %v", tc.key, tc.cost, got, tc.want)
		}
	}
	if s := c.Stats(); s.Refused != 4 {
		t.Errorf("Refused = %d, want 4", s.Refused)
	}
}

func TestConfig(t *testing.T) {
	for _, tc := range []struct {
		cfg Config
		ok  bool
	}{
		{Config{}, false}, {Config{MaxBytes: MinBytes}, true}, {Config{MaxBytes: MinBytes - 1}, false},
		{Config{MaxBytes: 1 << 20, MaxItem: 1 << 40}, true},
		{Config{MaxBytes: 1 << 20, MaxItem: -1}, false},
	} {
		c, err := NewCache[int](tc.cfg)
		if (err == nil) != tc.ok {
			t.Errorf("NewCache(%+v) error = %v, want ok %v", tc.cfg, err, tc.ok)
		}
		if err == nil {
			if c.Add("k", 1, tc.cfg.MaxBytes/8) {
				t.Errorf("NewCache(%+v) took an item of 1/8 of its size", tc.cfg)
			}
			c.Close()
		}
	}
}

// Two keys with equal hashes must never answer for each other.
func TestHashCollision(t *testing.T) {
	c, err := newCache[string](Config{MaxBytes: 1 << 20}, func(string) (uint64, uint64) { return 7, 7 })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Add("a", "of a", 4)
	c.Wait()
	c.Add("b", "of b", 4)
	c.Wait()
	if v, ok := c.Get("b"); ok {
		t.Errorf("Get(b) = %q after a collision with a", v)
	}
	if v, ok := c.Get("a"); !ok || v != "of a" {
		t.Errorf("Get(a) = %q, %v", v, ok)
	}
}

// Bytes, the queue included, never passes the limit, and what is counted is
// what is held: both when writers outrun the queue and after it drained.
func TestNeverOverLimit(t *testing.T) {
	c := open(t, Config{MaxBytes: 2 << 20, MaxItem: 64 << 10})
	stop, watched := make(chan struct{}), make(chan int64)
	go func() {
		var top int64
		for {
			select {
			case <-stop:
				watched <- top
				return
			default:
				top = max(top, c.bytes.Load())
			}
		}
	}()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for range 20_000 {
				id := rnd.Int64N(5_000)
				k := fmt.Sprint(id)
				switch v, ok := c.Get(k); {
				case ok && string(v) != k:
					t.Errorf("Get(%s) = %s", k, v)
				case rnd.IntN(50) == 0:
					c.Del(k)
				case !ok:
					c.Add(k, []byte(k), id)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	s := c.Stats()
	// A refused Add shows in bytes for the moment between its two additions.
	if top, slack := <-watched, 4*charge("4999", 5_000); top > s.MaxBytes+slack {
		t.Errorf("held and queued %d bytes, limit %d", top, s.MaxBytes)
	}
	c.Wait()
	if got, want := c.bytes.Load(), c.r.MaxCost()-c.r.RemainingCost(); got != want {
		t.Errorf("counted %d bytes, ristretto holds %d", got, want)
	}
	if s.Evicted == 0 || s.Items == 0 {
		t.Errorf("the test did not fill the cache: %+v", s)
	}
	c.Clear()
	if s := c.Stats(); s.Bytes != 0 || s.Items != 0 {
		t.Errorf("after Clear: %+v", s)
	}
}

// The heap is the judge: the smallest values make the overhead largest, and
// the largest fill the queue's slack.
func TestMemory(t *testing.T) {
	for _, size := range []int{0, 64, 1100, 33 << 10, 60 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const limit = 8 << 20
			before := heap()
			c := open(t, Config{MaxBytes: limit})
			n := 2 * limit / (size + Overhead)
			for i := range n {
				k := fmt.Sprintf("sha256:%064x", i)
				c.Get(k)
				c.Add(k, make([]byte, size), int64(size))
				if i%8192 == 0 {
					c.Wait()
				}
			}
			c.Wait()
			used, s := heap()-before, c.Stats()
			t.Logf("%d items, %d bytes counted, heap %d, %.0f B of overhead an item",
				s.Items, s.Bytes, used, float64(used)/float64(s.Items)-float64(size)-71)
			if used > limit {
				t.Errorf("heap grew by %d bytes, limit %d; %+v", used, limit, s)
			}
			if s.Bytes < limit*7/10 {
				t.Errorf("only %d bytes counted, limit %d; %+v", s.Bytes, limit, s)
			}
			runtime.KeepAlive(c)
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestCloseUnderLoad(t *testing.T) {
	c := open(t, Config{MaxBytes: 1 << 20})
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for g := range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				k := fmt.Sprint(g, i%500)
				c.Get(k)
				c.Add(k, nil, 100)
				switch i {
				case 1000:
					started <- struct{}{}
				case 2000, 3000:
					c.Clear()
				}
				if i%100 == 0 {
					c.Del(k)
				}
			}
		})
	}
	<-started
	c.Close()
	wg.Wait()
	c.Close()
	c.Clear()
	c.Wait()
	if _, ok := c.Get("0 1"); ok || c.Add("k", nil, 1) {
		t.Error("a closed cache answers")
	}
	if s := c.Stats(); s.Items != 0 || s.Bytes != 0 {
		t.Errorf("after Close: %+v", s)
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	c := open(t, Config{MaxBytes: 1 << 20, Metrics: true})
	key := fmt.Sprintf("sha256:%064x", 1)
	c.Add(key, []byte("v"), 1)
	c.Wait()
	// Ristretto hands every 64th read on in a fresh slice: 1/64 of an allocation.
	if n := testing.AllocsPerRun(6400, func() { c.Get(key) }); n >= 0.05 {
		t.Errorf("Get allocates %v times", n)
	}
}

func BenchmarkGet(b *testing.B) {
	c := open(b, Config{MaxBytes: 64 << 20, Metrics: true})
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("sha256:%064x", i)
		c.Add(keys[i], make([]byte, 1000), 1000)
		if i%1000 == 0 {
			c.Wait()
		}
	}
	c.Wait()
	b.ReportAllocs()
	b.Run("serial", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, ok := c.Get(keys[i%len(keys)]); !ok {
				b.Fatal("miss")
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				c.Get(keys[i%len(keys)])
			}
		})
	})
}

func BenchmarkAdd(b *testing.B) {
	c := open(b, Config{MaxBytes: 64 << 20})
	v := make([]byte, 5000)
	for i := 0; b.Loop(); i++ {
		c.Add(fmt.Sprintf("sha256:%064x", i), v, 5000)
	}
}
