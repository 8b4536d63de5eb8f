package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// formatVersion is pinned: a newer Pebble must not change the files of a
	// store by being linked in.
	formatVersion = pebble.FormatTableFormatV6

	bytesPerSync  = 1 << 20
	minMemTable   = 1 << 20
	maxMemTable   = 32 << 20
	writeCategory = vfs.DiskWriteCategory("blob")
)

// noSync is written out because a nil option means sync; read-only.
var noSync = &pebble.WriteOptions{Sync: false}

// pebbleOptions returns the options of the database. EnsureDefaults has been
// called on them, which MakeWriterOptions relies on.
func (db *DB) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                          db.fs,
		FormatMajorVersion:          formatVersion,
		CacheSize:                   db.cfg.BlockCache,
		MemTableSize:                db.memTableSize(),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       1000,
		FlushDelayDeleteRange:       time.Second,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                bytesPerSync,
		WALBytesPerSync:             bytesPerSync,
		MaxOpenFiles:                4096,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      pebbleLogger{db},
		EventListener:               db.pebbleEvents(),
	}
	// Tables never cross a prefix, so that flushed rows do not span the
	// tables of blobs and drag them into compactions.
	o.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		if len(start) == 0 || start[0] >= preEnd {
			return pebble.SpanPolicy{}, nil, nil
		}
		return pebble.SpanPolicy{}, []byte{start[0] + 1}, nil
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].IndexBlockSize = 64 << 10
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	}
	o.EnsureDefaults()
	return o
}

// memTableSize returns the size in bytes of a memtable, and so of a log: less
// than usual under a small budget.
func (db *DB) memTableSize() uint64 {
	if db.cfg.Disk <= 0 {
		return maxMemTable
	}
	return uint64(min(max(db.cfg.Disk/64, minMemTable), maxMemTable))
}

// tableOptions returns the options for tables of chunks: as they are, one to a
// block. The older row format is written: the columnar one allocates each block
// anew, 1.3 bytes of garbage for each byte stored, and gains nothing here.
func (db *DB) tableOptions() sstable.WriterOptions {
	o := db.pebbleOptions().MakeWriterOptions(6, sstable.TableFormatPebblev4)
	o.Compression = sstable.NoCompression
	o.BlockSize = chunkSize
	o.BlockSizeThreshold = 1
	o.FilterPolicy = nil
	o.DisableValueBlocks = true
	return o
}

// openPebble opens the database. It panics where a directory cannot be synced;
// while opening that is an error like others.
func (db *DB) openPebble() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open database: %v", r)
		}
	}()
	p, err := pebble.Open(db.fs.PathJoin(db.cfg.Dir, "pebble"), db.pebbleOptions())
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	db.pebble = p
	db.table = db.tableOptions()
	return nil
}

// ingestTable makes a finished table part of the database, durably.
func (db *DB) ingestTable(ctx context.Context, path string) (err error) {
	if err := db.broken.Load(); err != nil {
		return *err
	}
	defer func() {
		if r := recover(); r != nil {
			err = db.breakDown(fmt.Errorf("ingest: %v", r))
		}
	}()
	return db.pebble.Ingest(ctx, []string{path})
}

// pebbleEvents forwards what the owner of the store should hear of.
func (db *DB) pebbleEvents() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			db.event(Event{Kind: EventError, Err: fmt.Errorf("database background work: %w", err)})
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			db.event(Event{Kind: EventCorrupt, Detail: i.Path, Err: i.Details})
		},
	}
}

// pebbleLogger hands the database's messages to slog.
type pebbleLogger struct{ db *DB }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.db.log.Enabled(context.Background(), slog.LevelDebug) {
		l.db.log.Debug(strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.db.log.Error(strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Fatalf is called when the database cannot go on, after a failed write of its
// log for instance. It must not return: the state in memory is no longer the
// state on disk, and only a new start can tell what is.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	msg := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.db.log.Error(msg)
	panic(fatalError(msg))
}

// fatalError is what the store panics with when its disk fails it.
type fatalError string

func (e fatalError) Error() string { return "store: " + string(e) }

// corrupt turns the database's errors for damaged or absent bytes into
// ErrCorrupt.
func corrupt(err error) error {
	if errors.Is(err, pebble.ErrNotFound) {
		return fmt.Errorf("%w: bytes are missing", ErrCorrupt)
	}
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
