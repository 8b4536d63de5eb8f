package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func sumOf(data []byte) [32]byte { return sha256.Sum256(data) }

// chunks counts the keys of chunks in the database.
func (db *DB) chunkCount(t *testing.T) (n int) {
	t.Helper()
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: []byte{preChunk}, UpperBound: []byte{preChunk + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n
}

func TestSameBlobTwice(t *testing.T) {
	for _, size := range []int{100, 700 << 10} {
		db := open(t, Config{})
		data := payload(2, size)
		s := put(t, db, data, func(b *Batch, _ Sum) { b.Set([]byte("first"), nil) })
		before := db.chunkCount(t)
		if again := put(t, db, data, func(b *Batch, _ Sum) { b.Set([]byte("second"), nil) }); again != s {
			t.Fatalf("sum %s, then %s", s, again)
		}
		if st := db.Stats(); st.Blobs != 1 || st.InlineBytes+st.LargeBytes != int64(size) || st.Reserved != 0 || st.Writers != 0 {
			t.Errorf("stats: %+v", st)
		}
		if n := db.chunkCount(t); n != before {
			t.Errorf("%d chunks, then %d", before, n)
		}
		commit(t, db, func(b *Batch) { b.Unref(s) })
		if !bytes.Equal(read(t, db, s), data) {
			t.Error("other bytes")
		}
		mustCheck(t, db)
	}
}

func TestAbandonedWriter(t *testing.T) {
	db := open(t, Config{})
	db.segmentChunks = 2
	w, err := db.Create(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	data := payload(3, 5*chunkSize+10)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if db.chunkCount(t) != 4 {
		t.Fatalf("%d chunks ingested, want 4", db.chunkCount(t))
	}
	if db.HasBlob(w.Sum()) {
		t.Fatal("visible before Commit")
	}
	mustCheck(t, db) // a running writer is no orphan
	w.Release()
	w.Release()
	if n := db.chunkCount(t); n != 0 {
		t.Errorf("%d chunks left", n)
	}
	if names, err := db.fs.List(db.fs.PathJoin(db.cfg.Dir, tempDir)); err != nil || len(names) > 0 {
		t.Errorf("left in the directory: %v, %v", names, err)
	}
	if st := db.Stats(); st.Reserved != 0 || st.Writers != 0 {
		t.Errorf("stats: %+v", st)
	}
	if _, err := w.Write(data); err == nil {
		t.Error("Write after Release succeeded")
	}
	if _, err := w.Commit(nil); err == nil {
		t.Error("Commit after Release succeeded")
	}
}

// A refused Commit leaves the writer as it was.
func TestCommitAgain(t *testing.T) {
	for _, size := range []int{100, 600 << 10} {
		db := open(t, Config{})
		data := payload(8, size)
		w, err := db.Create(t.Context(), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Release()
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		b := db.NewBatch()
		b.Ref(Sum{1})
		if _, err := w.Commit(b); !errors.Is(err, ErrNotFound) {
			t.Fatalf("Commit with a reference to nothing: %v", err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("Write after Commit succeeded")
		}
		got := make([]byte, size)
		if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadAt after the refused Commit: %v", err)
		}
		s, err := w.Commit(nil)
		if err != nil {
			t.Fatalf("Commit again: %v", err)
		}
		if !bytes.Equal(read(t, db, s), data) {
			t.Error("other bytes")
		}
		if _, err := w.Commit(nil); err == nil {
			t.Error("committed twice")
		}
		clear(got)
		if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadAt after Commit: %v", err)
		}
	}
}

func TestReadRanges(t *testing.T) {
	for _, size := range []int{1, 1000, chunkSize, chunkSize + 1, 3*chunkSize - 1} {
		db := open(t, Config{InlineMax: 10 << 10})
		data := payload(uint64(size), size)
		b, err := db.OpenBlob(put(t, db, data, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, off := range []int{0, 1, size / 2, size - 1, size} {
			for _, n := range []int{0, 1, size / 3, size, size + 1} {
				want := data[min(off, size):min(off+n, size)]
				p := make([]byte, n)
				k, err := b.ReadAt(p, int64(off))
				if !bytes.Equal(p[:k], want) || (k < n) != (err == io.EOF) || err != nil && err != io.EOF {
					t.Fatalf("size %d: ReadAt(%d, %d): %d bytes, %v", size, off, n, k, err)
				}
				var buf bytes.Buffer
				_, err = b.WriteRange(&buf, int64(off), int64(n))
				if off+n > size {
					if err == nil {
						t.Fatalf("size %d: WriteRange(%d, %d) beyond the end succeeded", size, off, n)
					}
				} else if err != nil || !bytes.Equal(buf.Bytes(), want) {
					t.Fatalf("size %d: WriteRange(%d, %d): %v", size, off, n, err)
				}
			}
		}
		if _, err := b.ReadAt(make([]byte, 1), -1); err == nil {
			t.Error("negative offset accepted")
		}
		if _, err := b.WriteRange(io.Discard, 1, 1<<62); err == nil {
			t.Error("overlong range accepted")
		}
	}
}

// A blob deleted while it is read stays readable, is not found any more, and
// its bytes go with the last reader.
func TestDeletedWhileRead(t *testing.T) {
	for _, size := range []int{100, 700 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fs := vfs.NewMem()
			db := open(t, Config{FS: fs})
			data := payload(5, size)
			s := put(t, db, data, nil)
			one, _ := db.OpenBlob(s)
			two, err := db.OpenBlob(s)
			if err != nil {
				t.Fatal(err)
			}
			commit(t, db, func(b *Batch) { b.Unref(s) })
			if _, err := db.OpenBlob(s); !errors.Is(err, ErrNotFound) {
				t.Fatalf("OpenBlob of a deleted blob: %v", err)
			}
			mustCheck(t, db)
			if r, err := db.GC(t.Context(), nil); err != nil || r.Removed != 0 {
				t.Fatalf("GC took what is read: %+v, %v", r, err)
			}
			put(t, db, data, nil) // the same blob anew, under another id
			one.Close()
			one.Close()
			var buf bytes.Buffer
			if _, err := two.WriteTo(&buf); err != nil || !bytes.Equal(buf.Bytes(), data) {
				t.Fatalf("reading after deletion: %v", err)
			}
			two.Close()
			if _, err := two.ReadAt(make([]byte, 1), 0); err == nil {
				t.Error("ReadAt after Close succeeded")
			}
			if !bytes.Equal(read(t, db, s), data) {
				t.Error("the new blob has other bytes")
			}
			mustCheck(t, db)
			want := (size + chunkSize - 1) / chunkSize
			if size <= defaultInline {
				want = 0
			}
			if n := db.chunkCount(t); n != want {
				t.Errorf("%d chunks, want %d", n, want)
			}
		})
	}
}

// stalled is a writer that lets a test hold it.
type stalled struct {
	entered chan struct{}
	leave   chan struct{}
	n       int
}

func (s *stalled) Write(p []byte) (int, error) {
	s.n++
	s.entered <- struct{}{}
	<-s.leave
	return len(p), nil
}

// A client that takes nothing holds a copy, not a part of the database: the
// store can even be closed.
func TestStalledReader(t *testing.T) {
	db := open(t, Config{})
	b, err := db.OpenBlob(put(t, db, payload(6, 3*chunkSize), nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &stalled{entered: make(chan struct{}), leave: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := b.WriteTo(w)
		done <- err
	}()
	<-w.entered
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	close(w.leave)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("WriteTo after Close: %v", err)
	}
}

func TestLoans(t *testing.T) {
	var l loans
	l.init()
	var got []int
	for range maxLoans {
		i := l.take()
		if i < 0 {
			t.Fatalf("no loan after %d", len(got))
		}
		got = append(got, i)
	}
	if l.take() >= 0 {
		t.Error("more loans than allowed")
	}
	l.end(got[3])
	if l.take() < 0 {
		t.Error("no loan though one ended")
	}
	for _, i := range got {
		l.end(i)
	}
	late := l.take()
	l.since[late].Store(-int64(2 * lateLoan))
	if l.take() >= 0 {
		t.Error("a loan while another is late")
	}
	l.end(late)
	if l.take() < 0 {
		t.Error("no loan after the late one ended")
	}
}

func TestClosed(t *testing.T) {
	db := open(t, Config{})
	s := put(t, db, payload(1, 10), nil)
	blob, err := db.OpenBlob(s)
	if err != nil {
		t.Fatal(err)
	}
	w, err := db.Create(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	big, err := db.Create(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := big.Write(payload(1, 3*chunkSize)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Close":       db.Close,
		"Row":         func() error { _, err := db.Row([]byte("x")); return err },
		"Rows":        func() error { return db.Rows(nil, nil, nil) },
		"Commit":      func() error { return db.NewBatch().Commit(true) },
		"Create":      func() error { _, err := db.Create(context.Background(), 1); return err },
		"Write":       func() error { _, err := w.Write([]byte("x")); return err },
		"WriterRead":  func() error { _, err := big.ReadAt(make([]byte, 1), 0); return err },
		"WriteCommit": func() error { _, err := w.Commit(nil); return err },
		"OpenBlob":    func() error { _, err := db.OpenBlob(s); return err },
		"ReadAt":      func() error { _, err := blob.ReadAt(make([]byte, 1), 0); return err },
		"WriteTo":     func() error { _, err := blob.WriteTo(io.Discard); return err },
		"Drop":        func() error { return db.Drop(s) },
		"Check":       func() error { _, err := db.Check(context.Background(), nil); return err },
		"Scrub":       func() error { _, err := db.Scrub(context.Background(), 0, nil); return err },
		"GC":          func() error { _, err := db.GC(context.Background(), nil); return err },
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s on a closed store: %v", name, err)
		}
	}
	w.Release()
	big.Release()
	if err := blob.Close(); err != nil {
		t.Error(err)
	}
	if db.HasBlob(s) || db.Stats().Blobs != 0 {
		t.Error("a closed store answers")
	}
}

// References, deletions and reads of a few blobs by many goroutines: whoever got
// a reference finds the blob until giving it back.
func TestConcurrentReferences(t *testing.T) {
	db := open(t, Config{InlineMax: 1000})
	var data [4][]byte
	for i := range data {
		data[i] = payload(uint64(i), 500+i*1000)
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 40 {
				d := data[(g+i)%len(data)]
				s := Sum(sumOf(d))
				b := db.NewBatch()
				b.Ref(s)
				if err := b.Commit(false); errors.Is(err, ErrNotFound) {
					put(t, db, d, nil)
				} else if err != nil {
					t.Error(err)
				}
				if !bytes.Equal(read(t, db, s), d) {
					t.Error("other bytes")
				}
				commit(t, db, func(b *Batch) { b.Unref(s) })
			}
		})
	}
	wg.Wait()
	if st := db.Stats(); st.Blobs != 0 || db.chunkCount(t) != 0 {
		t.Errorf("%d blobs, %d chunks left", st.Blobs, db.chunkCount(t))
	}
	mustCheck(t, db)
}
