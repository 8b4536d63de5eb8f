package golang

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"

	"larder/formats"
)

// Limits on module zips. The sizes are those of golang.org/x/mod/zip, which go
// enforces too; the directory's are ours, because reading it takes memory.
const (
	maxZip       = modzip.MaxZipFile
	maxGoMod     = modzip.MaxGoMod
	maxLicense   = modzip.MaxLICENSE
	maxDirectory = 32 << 20 // bytes read to find and parse the zip's directory
	maxEntries   = 1 << 18
)

// hashZip checks a module zip by the rules of golang.org/x/mod/zip and returns
// the h1 of its files. It reads every file once and keeps none.
func hashZip(ctx context.Context, mod module.Version, f formats.File) (string, error) {
	if f.Size() > maxZip {
		return "", fmt.Errorf("it has %d bytes, more than %d", f.Size(), int64(maxZip))
	}
	if err := module.Check(mod.Path, mod.Version); err != nil {
		return "", err
	}
	z, err := openZip(f, maxDirectory, maxEntries)
	if err != nil {
		return "", err
	}
	if err := checkEntries(mod, z.File); err != nil {
		return "", err
	}
	names := make([]string, len(z.File))
	byName := make(map[string]*zip.File, len(z.File))
	for i, zf := range z.File {
		names[i] = zf.Name
		byName[zf.Name] = zf
	}
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rc, err := byName[name].Open()
		if err != nil {
			return nil, fmt.Errorf("open %q: %w", name, err)
		}
		return &entry{rc: rc, left: int64(byName[name].UncompressedSize64), name: name}, nil
	})
}

// openZip reads a zip's directory from at most so many bytes.
func openZip(f formats.File, directory int64, entries int) (*zip.Reader, error) {
	metered := &meter{r: f}
	metered.left.Store(directory)
	z, err := zip.NewReader(metered, f.Size())
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	metered.left.Store(-1)
	if err := checkEnd(f, len(z.Comment)); err != nil {
		return nil, err
	}
	if len(z.File) > entries {
		return nil, fmt.Errorf("it has %d entries, more than %d", len(z.File), entries)
	}
	return z, nil
}

// zipEnd is the length of a zip's end record without its comment.
const zipEnd = 22

// checkEnd wants the zip's end record to end the file: what stands behind it is
// in no hash, and readers differ in what they make of it.
func checkEnd(f formats.File, comment int) error {
	at := f.Size() - int64(zipEnd+comment)
	var sign [4]byte
	if at < 0 {
		return errors.New("it ends within its directory")
	}
	if _, err := f.ReadAt(sign[:], at); err != nil {
		return fmt.Errorf("read its end: %w", err)
	}
	if string(sign[:]) != "PK\x05\x06" {
		return errors.New("more bytes follow the end of the zip")
	}
	return nil
}

// checkEntries applies the naming and size rules to the zip's directory.
func checkEntries(mod module.Version, files []*zip.File) error {
	prefix := mod.Path + "@" + mod.Version + "/"
	seen := make(foldedPaths, len(files))
	exact := make(map[string]bool, len(files))
	total := uint64(0)
	for _, zf := range files {
		name, ok := strings.CutPrefix(zf.Name, prefix)
		if !ok {
			return fmt.Errorf("entry %.200q is outside %s", zf.Name, prefix)
		}
		if exact[zf.Name] {
			return fmt.Errorf("entry %.200q is there twice", zf.Name)
		}
		exact[zf.Name] = true
		if name == "" {
			continue
		}
		name, isDir := strings.CutSuffix(name, "/")
		if path.Clean(name) != name {
			return fmt.Errorf("entry %.200q is not a clean path", zf.Name)
		}
		if err := module.CheckFilePath(name); err != nil {
			return fmt.Errorf("entry %.200q: %w", zf.Name, err)
		}
		if err := seen.add(name, isDir); err != nil {
			return err
		}
		if isDir {
			continue
		}
		if strings.EqualFold(path.Base(name), "go.mod") && name != "go.mod" {
			return fmt.Errorf("entry %.200q: go.mod belongs at the root, in lower case", zf.Name)
		}
		size := zf.UncompressedSize64
		if size > maxZip || total+size > maxZip {
			return fmt.Errorf("its files have more than %d bytes in all", int64(maxZip))
		}
		total += size
		if name == "go.mod" && size > maxGoMod || name == "LICENSE" && size > maxLicense {
			return fmt.Errorf("entry %.200q has %d bytes, more than allowed", zf.Name, size)
		}
	}
	return nil
}

// foldedPaths finds paths that are one on a file system without case, and files
// that would have to be directories too.
type foldedPaths map[string]foldedPath

type foldedPath struct {
	path string
	dir  bool
}

func (p foldedPaths) add(name string, dir bool) error {
	folded := foldCase(name)
	if other, ok := p[folded]; ok {
		switch {
		case other.path != name:
			return fmt.Errorf("entries %.200q and %.200q differ by case alone", other.path, name)
		case other.dir != dir:
			return fmt.Errorf("entry %.200q is both a file and a directory", name)
		case !dir:
			return fmt.Errorf("entry %.200q is there twice", name)
		}
		return nil // a directory is seen once for each file below it
	}
	p[folded] = foldedPath{name, dir}
	if parent := path.Dir(name); parent != "." {
		return p.add(parent, true)
	}
	return nil
}

// meter stops a reader after a number of bytes; below zero it lets all pass.
type meter struct {
	r    io.ReaderAt
	left atomic.Int64
}

var errDirectory = errors.New("its directory is too large")

func (m *meter) ReadAt(p []byte, off int64) (int, error) {
	if m.left.Load() >= 0 && m.left.Add(-int64(len(p))) < 0 {
		m.left.Store(0)
		return 0, errDirectory
	}
	return m.r.ReadAt(p, off)
}

// entry is one file of a zip, held to the size that the directory announced.
type entry struct {
	rc   io.ReadCloser
	left int64
	name string
}

func (e *entry) Read(p []byte) (int, error) {
	n, err := e.rc.Read(p)
	e.left -= int64(n)
	if e.left < 0 {
		return 0, fmt.Errorf("entry %.200q is longer than announced", e.name)
	}
	return n, err
}

func (e *entry) Close() error { return e.rc.Close() }
