package pypi

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"larder/formats"
)

// sourceTree is a source distribution while it is read: one directory,
// NAME-VERSION, with a PKG-INFO in it (PEP 517, PEP 625).
type sourceTree struct {
	d       *distribution
	top     string
	pkgInfo []byte
}

// enter checks that an entry lies below the one directory.
func (s *sourceTree) enter(name string, isDir bool) error {
	top, _, below := strings.Cut(strings.TrimSuffix(name, "/"), "/")
	if s.top == "" {
		if err := s.d.checkStem(top); err != nil {
			return fmt.Errorf("its directory: %w", err)
		}
		s.top = top
	}
	if top != s.top || !below && !isDir {
		return fmt.Errorf("%q does not lie in the directory %q", clip(name), clip(s.top))
	}
	return nil
}

func (s *sourceTree) read(name string, r io.Reader) error {
	if name != s.top+"/PKG-INFO" {
		return nil
	}
	var err error
	s.pkgInfo, err = readText(r, "PKG-INFO", maxMetadata)
	return err
}

func (s *sourceTree) metadata() ([]byte, error) {
	if s.pkgInfo == nil {
		return nil, errors.New("it has no PKG-INFO")
	}
	return s.pkgInfo, nil
}

func (d *distribution) inspectSourceZip(ctx context.Context, file formats.File) ([]byte, error) {
	z, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	tree := &sourceTree{d: d}
	for _, e := range z.File {
		if err := tree.enter(e.Name, strings.HasSuffix(e.Name, "/")); err != nil {
			return nil, err
		}
	}
	err = walkZip(ctx, file, z, func(e *zip.File, r io.Reader) error { return tree.read(e.Name, r) })
	if err != nil {
		return nil, err
	}
	return tree.metadata()
}

// inspectSourceTar reads a .tar.gz to its last byte: what follows the tar
// archive's end must be zeros, or another reader would go on.
func (d *distribution) inspectSourceTar(ctx context.Context, file formats.File) ([]byte, error) {
	gz, err := gzip.NewReader(io.NewSectionReader(file, 0, file.Size()))
	if err != nil {
		return nil, fmt.Errorf("not a gzip file: %w", err)
	}
	plain := newOutput(ctx, file.Size()).of(gz)
	tree, names, entries := &sourceTree{d: d}, newPaths(), 0
	t := tar.NewReader(plain)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read tar archive: %w", err)
		}
		if entries++; entries > maxEntries {
			return nil, errors.New("it has too many entries")
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // written by git archive; holds no file
		}
		if err := tree.take(h, t, names); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(zeros{}, plain); err != nil {
		return nil, fmt.Errorf("read end of tar archive: %w", err)
	}
	return tree.metadata()
}

func (s *sourceTree) take(h *tar.Header, r io.Reader, names *paths) error {
	isDir := h.Typeflag == tar.TypeDir
	if !isDir && h.Typeflag != tar.TypeReg {
		return fmt.Errorf("%q is a link or a special file", clip(h.Name))
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("%q is a sparse file", clip(h.Name))
		}
	}
	if err := names.add(h.Name, isDir); err != nil {
		return err
	}
	if err := s.enter(h.Name, isDir); err != nil {
		return err
	}
	if isDir {
		return nil
	}
	return s.read(h.Name, r)
}

// zeros accepts nothing but zero bytes.
type zeros struct{}

func (zeros) Write(p []byte) (int, error) {
	for _, c := range p {
		if c != 0 {
			return 0, errors.New("bytes follow the end of the archive")
		}
	}
	return len(p), nil
}
