package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func open(t *testing.T, cfg Config) *DB {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = "store"
	}
	if cfg.FS == nil {
		cfg.FS = vfs.NewMem()
	}
	if cfg.BlockCache == 0 {
		cfg.BlockCache = 4 << 20
	}
	db, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// payload returns n bytes that depend on seed and cannot be compressed.
func payload(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	x := seed*2 + 1
	for len(b) < n {
		x += 0x9e3779b97f4a7c15
		y := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		b = binary.LittleEndian.AppendUint64(b, y^y>>27)
	}
	return b[:n]
}

func put(t *testing.T, db *DB, data []byte, fill func(*Batch, Sum)) Sum {
	t.Helper()
	w, err := db.Create(context.Background(), int64(len(data)))
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	defer w.Release()
	if _, err := w.Write(data); err != nil {
		t.Fatalf("Write: %v", err)
	}
	b := db.NewBatch()
	b.Ref(w.Sum())
	if fill != nil {
		fill(b, w.Sum())
	}
	sum, err := w.Commit(b)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return sum
}

func read(t *testing.T, db *DB, s Sum) []byte {
	t.Helper()
	b, err := db.OpenBlob(s)
	if err != nil {
		t.Fatalf("OpenBlob(%s): %v", s, err)
	}
	defer b.Close()
	var buf bytes.Buffer
	if _, err := b.WriteTo(&buf); err != nil {
		t.Fatalf("WriteTo: %v", err)
	}
	return buf.Bytes()
}

func TestBlobRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 256 << 10, 256<<10 + 1, 512 << 10, 1<<20 + 7, 9<<20 + 3} {
		db := open(t, Config{})
		db.segmentChunks = 4
		data := payload(uint64(n), n)
		s := put(t, db, data, func(b *Batch, s Sum) { b.Set([]byte("row"), s[:]) })
		if want := Sum(sha256.Sum256(data)); s != want {
			t.Fatalf("size %d: sum %s, want %s", n, s, want)
		}
		if got := read(t, db, s); !bytes.Equal(got, data) {
			t.Fatalf("size %d: other bytes", n)
		}
		if v, err := db.Row([]byte("row")); err != nil || !bytes.Equal(v, s[:]) {
			t.Fatalf("size %d: row %x, %v", n, v, err)
		}
		b := db.NewBatch()
		b.Unref(s)
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
		if _, err := db.OpenBlob(s); !errors.Is(err, ErrNotFound) {
			t.Fatalf("size %d: open after unref: %v", n, err)
		}
	}
}

func TestWriterReadAtWhileWriting(t *testing.T) {
	db := open(t, Config{})
	db.segmentChunks = 4
	data := payload(7, 8<<20)
	w, err := db.Create(context.Background(), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Release()
	done := make(chan error, 1)
	go func() {
		r := rand.New(rand.NewPCG(1, 2))
		buf := make([]byte, 300<<10)
		for {
			size := w.Size()
			off := r.Int64N(size + 1)
			n, err := w.ReadAt(buf, off)
			if err != nil && err != io.EOF {
				done <- err
				return
			}
			if !bytes.Equal(buf[:n], data[off:off+int64(n)]) {
				done <- errors.New("other bytes")
				return
			}
			if size == int64(len(data)) {
				done <- nil
				return
			}
		}
	}()
	for off := 0; off < len(data); {
		n := min(len(data)-off, 100_000)
		if _, err := w.Write(data[off : off+n]); err != nil {
			t.Fatal(err)
		}
		off += n
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
