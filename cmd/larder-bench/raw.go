package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"larder/cache/store"
)

// rawIngest writes the same objects straight into a store, and as plain files
// (temporary name, fsync, rename, fsync of the directory), and returns bytes a
// second of both. Every object is durable before the next begins.
func rawIngest(c config, size int64, count, workers int) (raw, files float64, err error) {
	dir, err := os.MkdirTemp(c.dir, "raw-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(store.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		return 0, 0, err
	}
	bodies := make([][]byte, count)
	for i := range bodies {
		if bodies[i], err = io.ReadAll(body(fmt.Sprintf("raw-%d-%d", size, i), size)); err != nil {
			return 0, 0, err
		}
		if int64(i+1)*size > 512<<20 {
			bodies = bodies[:i+1]
			break
		}
	}
	took, err := spread(len(bodies), workers, func(i int) error {
		w, err := db.Create(context.Background(), size)
		if err != nil {
			return err
		}
		defer w.Release()
		if _, err := w.Write(bodies[i]); err != nil {
			return err
		}
		sum := w.Sum()
		b := db.NewBatch()
		b.Set([]byte(fmt.Sprintf("row-%d", i)), make([]byte, 300))
		b.Ref(sum)
		_, err = w.Commit(b)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	if err := db.Close(); err != nil {
		return 0, 0, err
	}
	total := float64(size) * float64(len(bodies))
	raw = total / took.Seconds()
	took, err = spread(len(bodies), workers, func(i int) error { return plainFile(dir, i, bodies[i]) })
	return raw, total / took.Seconds(), err
}

func spread(n, workers int, fn func(int) error) (time.Duration, error) {
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	work := make(chan int)
	start := time.Now()
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				if err := fn(i); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		}()
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return time.Since(start), nil
	}
}

func plainFile(dir string, i int, p []byte) error {
	name := filepath.Join(dir, fmt.Sprintf("f-%d", i))
	f, err := os.Create(name + ".tmp")
	if err != nil {
		return err
	}
	if _, err := f.Write(p); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
