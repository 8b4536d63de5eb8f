package store

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// chunkSize is the length of one stored piece of a large blob. 256 KiB
	// was the best of 64 KiB, 256 KiB and 1 MiB for CPU per byte read while
	// keeping one piece small enough to hold in memory per reader.
	chunkSize = 256 << 10
	// segmentSize bounds one ingested table, and with it the bytes of a
	// running download that are not yet part of the database.
	segmentSize = 64 << 20

	houseInterval  = 10 * time.Second
	touchAge       = 10 * time.Minute
	defaultInline  = 256 << 10
	defaultBlock   = 128 << 20
	defaultReserve = 1 << 30
)

// Config is everything a store can be told. The zero value of each field means
// its default, except Dir.
type Config struct {
	// Dir is the directory of the store. It is created if absent.
	Dir string `toml:"-"`
	// FS is the file system; nil is the operating system's.
	FS vfs.FS `toml:"-"`
	// InlineMax is the size in bytes up to which a blob is written together
	// with its index entry; larger blobs become tables of their own.
	// Default 256 KiB, at most 1 MiB.
	InlineMax int64 `toml:"inline_max"`
	// Disk is the budget in bytes for everything in the store. 0 means all of
	// the file system but Reserve.
	Disk int64 `toml:"disk"`
	// Reserve is the number of bytes of the file system that blobs never use,
	// so that rows can still be written. Default 1 GiB or 5 % of the file
	// system, the smaller. Negative means none.
	Reserve int64 `toml:"reserve"`
	// BlockCache is the size in bytes of the cache of table blocks. The page
	// cache of the operating system does most of the work. Default 128 MiB.
	BlockCache int64 `toml:"block_cache"`
	// FreeSpace tells free and total bytes of the file system of dir; nil asks
	// the operating system.
	FreeSpace func(dir string) (free, total int64, err error) `toml:"-"`
	// Now is the clock; nil is time.Now. Only access times and ages use it.
	Now func() time.Time `toml:"-"`
	// OnEvent is told what happens by itself: evictions, orphans, corruption,
	// fullness. It is called synchronously and must not call the store.
	OnEvent func(Event) `toml:"-"`
	// Logger gets the messages of the database below; nil discards them.
	Logger *slog.Logger `toml:"-"`
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("no directory given")
	}
	if c.InlineMax < 0 || c.Disk < 0 || c.BlockCache < 0 {
		return c, errors.New("sizes must not be negative")
	}
	if c.InlineMax > 1<<20 {
		return c, errors.New("inline_max must not exceed 1 MiB")
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.InlineMax == 0 {
		c.InlineMax = defaultInline
	}
	if c.BlockCache == 0 {
		c.BlockCache = defaultBlock
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
