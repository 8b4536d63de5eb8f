package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	ballastName = "ballast"
	// ballastSize is enough for the database to write out its memtables and
	// manifest after the file system has run full. On a small file system it
	// is a 64th of it.
	ballastSize = 64 << 20
)

// ballast is a file that takes up space to be given back when the file system
// is full, so that rows can still be written and the database closed.
type ballast struct {
	there bool
	lost  bool // given up because of a full file system, and not made anew yet
}

func ballastFor(total int64) int64 { return min(ballastSize, total/64) }

func (db *DB) ballastPath() string { return db.cfg.FS.PathJoin(db.cfg.Dir, ballastName) }

// onDiskFull is called by the file system when a write found no space, while
// all other writes wait. The write is tried once more afterwards.
func (db *DB) onDiskFull() {
	err := db.cfg.FS.Remove(db.ballastPath())
	s := &db.space
	s.mu.Lock()
	s.ballast.lost, s.ballast.there = true, false
	s.full = fullNone
	s.mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	db.event(Event{Kind: EventNoSpace, Detail: "ballast given up", Err: err})
}

// restoreBallast makes the ballast if it is not there and the file system has
// room for it beside the reserve. Where the file system does not tell its size
// there is none.
func (db *DB) restoreBallast() error {
	s := &db.space
	s.mu.Lock()
	want := !s.ballast.there && s.known && s.free > db.reserveBytes(s.total)+2*ballastFor(s.total)
	lost, size := s.ballast.lost, ballastFor(s.total)
	s.mu.Unlock()
	if !want {
		return nil
	}
	if err := db.makeBallast(size); err != nil {
		return errors.Join(fmt.Errorf("make ballast: %w", err), db.cfg.FS.Remove(db.ballastPath()))
	}
	s.mu.Lock()
	s.ballast = ballast{there: true}
	s.mu.Unlock()
	if lost {
		db.event(Event{Kind: EventRoom, Detail: "ballast is back"})
	}
	return nil
}

// makeBallast writes zeros where the file system cannot just allocate.
func (db *DB) makeBallast(size int64) (err error) {
	f, err := db.cfg.FS.Create(db.ballastPath(), writeCategory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Fd() != vfs.InvalidFd && f.Preallocate(0, size) == nil {
		return f.Sync()
	}
	zero := make([]byte, 1<<20)
	for n := int64(0); n < size; n += int64(len(zero)) {
		if _, err := f.Write(zero); err != nil {
			return err
		}
	}
	return f.Sync()
}
