package cache

import (
	"context"
	"io"

	"larder/cache/store"
)

// blobs is what flights need of the store; spool and blob are its documented
// contracts for Writer and Blob. The interfaces are here so that tests can make
// every call fail at any byte.
type blobs interface {
	create(ctx context.Context, size int64) (spool, error)
	open(s store.Sum) (blob, error)
	newBatch() *store.Batch
}

type spool interface {
	io.Writer
	io.ReaderAt // concurrent with Write, below Size, until Release
	Size() int64
	Sum() store.Sum
	Commit(b *store.Batch) (store.Sum, error)
	Release()
}

type blob interface {
	io.ReaderAt
	Size() int64
	WriteRange(w io.Writer, off, n int64) (int64, error)
	Close() error
}

type storeBlobs struct{ db *store.DB }

func (s storeBlobs) create(ctx context.Context, size int64) (spool, error) {
	w, err := s.db.Create(ctx, size)
	if err != nil {
		return nil, err // a nil *Writer must not become a non-nil spool
	}
	return w, nil
}

func (s storeBlobs) open(sum store.Sum) (blob, error) {
	b, err := s.db.OpenBlob(sum)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (s storeBlobs) newBatch() *store.Batch { return s.db.NewBatch() }
