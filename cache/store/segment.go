package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// segment is the table that a running large write fills. Its chunks are
// readable at any time: from memory until the table writer has put them into
// the file, from the file afterwards.
//
// add and finish belong to the writer's goroutine; readAt may run beside them.
type segment struct {
	path  string
	file  vfs.File
	table *sstable.Writer
	first uint32 // number of the first chunk
	added int    // chunks given to the table

	mu sync.RWMutex // guards what follows; shared with the table's own goroutine
	// at is the place in the file of each chunk that has reached it.
	at []int64
	// pending are the chunks that have not, oldest first.
	pending [][]byte
	length  int64 // bytes in the file
	dropped bool  // the file is thrown away: no need to sync
	recycle func([]byte)
}

// maxPending bounds the chunks on their way through the table writer, which
// keeps about three.
const maxPending = 8

var errLayout = errors.New("table does not hold chunks in one piece")

func (db *DB) newSegment(path string, first uint32) (*segment, error) {
	f, err := db.fs.Create(path, writeCategory)
	if err != nil {
		return nil, fmt.Errorf("create table: %w", noSpace(err))
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: bytesPerSync, NoSyncOnClose: true})
	s := &segment{path: path, file: f, first: first, recycle: db.putChunk}
	s.table = sstable.NewWriter((*segmentFile)(s), db.table)
	return s, nil
}

// stage makes a chunk readable before add has written it. The segment keeps the
// slice until the chunk is in the file and then recycles it.
func (s *segment) stage(chunk []byte) {
	s.mu.Lock()
	s.pending = append(s.pending, chunk)
	s.mu.Unlock()
}

// chunks returns the number of chunks that can be read.
func (s *segment) chunks() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.at) + len(s.pending)
}

// add writes the chunk that was staged last.
func (s *segment) add(id uint64, chunk []byte) error {
	if err := s.table.Set(chunkKey(id, s.first+uint32(s.added)), chunk); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	s.added++
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.pending) > maxPending {
		return errLayout
	}
	return nil
}

// finish completes and syncs the file. It stays open for reading.
func (s *segment) finish() error {
	err := s.table.Close()
	s.table = nil
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.pending) > 0 {
		return errLayout
	}
	return nil
}

// discard gives up an unfinished or finished segment. The file is left to the
// caller.
func (s *segment) discard() {
	if s.table != nil {
		s.dropped = true
		_ = s.table.Close() // ends its goroutine
		s.table = nil
	}
	_ = s.file.Close() // finish has synced what is needed
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.pending {
		s.recycle(c)
	}
	s.pending = nil
}

// readAt reads from chunk n, which is one of the added.
func (s *segment) readAt(p []byte, n uint32, off int64) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := int(n - s.first)
	if i < len(s.at) {
		_, err := s.file.ReadAt(p, s.at[i]+off)
		return err
	}
	copy(p, s.pending[i-len(s.at)][off:])
	return nil
}

// segmentFile is the segment as the table writer sees it: the place its output
// goes to. It finds each chunk in the output, so that no second copy of the
// bytes has to be kept for readers.
type segmentFile segment

var _ objstorage.Writable = (*segmentFile)(nil)

func (f *segmentFile) Write(p []byte) error {
	f.mu.RLock()
	var chunk []byte
	if len(f.pending) > 0 {
		chunk = f.pending[0]
	}
	start := f.length
	f.mu.RUnlock()
	at := -1
	if chunk != nil {
		at = locate(p, chunk) // before Write, which may change p
	}
	n := len(p)
	if _, err := f.file.Write(p); err != nil {
		return noSpace(err)
	}
	f.mu.Lock()
	f.length += int64(n)
	f.mu.Unlock()
	if at >= 0 {
		f.reached(start+int64(at), chunk)
	}
	return nil
}

// reached notes where a chunk is and drops the copy in memory.
func (f *segmentFile) reached(at int64, chunk []byte) {
	f.mu.Lock()
	f.at = append(f.at, at)
	f.pending = f.pending[1:]
	f.mu.Unlock()
	f.recycle(chunk)
}

func (f *segmentFile) Finish() error {
	if f.dropped {
		return nil
	}
	return noSpace(f.file.Sync())
}

func (f *segmentFile) Abort() {}

// maxOverhead bounds what a table block adds to the one chunk in it.
const maxOverhead = 512

// locate returns where chunk lies in the table block p, or -1. A block holds one
// chunk with a few bytes around it. Whatever place it finds holds the right
// bytes, since it compares them all.
func locate(p, chunk []byte) int {
	for at := 0; at <= min(len(p)-len(chunk), maxOverhead); at++ {
		if bytes.Equal(p[at:at+len(chunk)], chunk) {
			return at
		}
	}
	return -1
}
