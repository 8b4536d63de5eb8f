package proxy_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/store"
	"larder/formats"
)

const benchUpload = 60 << 20

// BenchmarkPublish compares publishing a file of 60 MiB through the whole HTTP
// path, client included, with the durable ingest of the same bytes into the store
// alone, and with the digests alone.
func BenchmarkPublish(b *testing.B) {
	data := noise(1, benchUpload)
	n := uint64(0)
	next := func() []byte { // other bytes each time, or the store has them already
		n++
		binary.BigEndian.PutUint64(data, n)
		return data
	}
	b.Run("http", func(b *testing.B) {
		w, _ := newWorldWith(b, "npm", func(w *world) {
			withRobot(w)
			w.fs, w.dir = vfs.Default, filepath.Join(b.TempDir(), "store")
		}, registry())
		b.SetBytes(benchUpload)
		for b.Loop() {
			body := next()
			if a := w.put(fmt.Sprintf("/generic/main/ns/big/1.%d.0/file.bin", n), body); a.status != http.StatusCreated {
				b.Fatal(a.status, a.body)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		db, err := store.Open(store.Config{Dir: filepath.Join(b.TempDir(), "store"), FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 64 << 20, nil }})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		b.SetBytes(benchUpload)
		for b.Loop() {
			w, err := db.Create(context.Background(), -1)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(next())}, make([]byte, 512<<10)); err != nil {
				b.Fatal(err)
			}
			batch := db.NewBatch()
			batch.Ref(w.Sum())
			batch.Ledger(data[:8])
			if _, err := w.Commit(batch); err != nil {
				b.Fatal(err)
			}
			w.Release()
		}
	})
	for _, alg := range []formats.Alg{formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512} {
		b.Run(string(alg), func(b *testing.B) {
			b.SetBytes(benchUpload)
			for b.Loop() {
				h := alg.New()
				h.Write(data)
				h.Sum(nil)
			}
		})
	}
}
