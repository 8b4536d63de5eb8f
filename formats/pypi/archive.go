package pypi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"larder/formats"
)

// Limits on an archive that is published. What comes out is counted; no size
// that an archive states is believed.
const (
	maxDepth     = 64              // segments of a path
	maxPathText  = 1_024           // bytes of a path
	maxPaths     = 4 * maxEntries  // files and directories, stated or implied
	freeOutput   = 64 << 20        // bytes that may come out whatever went in
	maxOutput    = int64(64) << 30 // bytes that may come out at all
	copyBuffer   = 128 << 10       // bytes
	errBombLabel = "it unpacks to far more than any package: an archive bomb"
)

var errBomb = errors.New(errBombLabel)

// watchedFile remembers a failure to read, which is the store's and not the
// archive's.
type watchedFile struct {
	formats.File
	err error
}

func (w *watchedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.File.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// output counts what comes out of an archive, for all its entries together, and
// ends with the request.
type output struct {
	ctx  context.Context
	left int64
}

func newOutput(ctx context.Context, packed int64) *output {
	left := maxOutput
	if packed < (maxOutput-freeOutput)/maxRatio {
		left = freeOutput + maxRatio*packed
	}
	return &output{ctx, left}
}

// of limits r to what is left.
func (o *output) of(r io.Reader) io.Reader { return &outputReader{o, r} }

type outputReader struct {
	o *output
	r io.Reader
}

func (r *outputReader) Read(p []byte) (int, error) {
	if err := r.o.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if r.o.left -= int64(n); r.o.left < 0 {
		return 0, errBomb
	}
	return n, err
}

// paths are the names in an archive. Each stands for one file below the
// archive's root, whatever unpacks it.
type paths struct {
	isDir map[string]bool
	files int
}

func newPaths() *paths { return &paths{isDir: make(map[string]bool)} }

// add takes one entry. Directories may repeat, files may not, and no file may
// be another's directory.
func (p *paths) add(name string, isDir bool) error {
	if isDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := cleanPath(name); err != nil {
		return err
	}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if dir, known := p.isDir[name[:i]]; known && !dir {
			return fmt.Errorf("%q is a file and a directory", clip(name[:i]))
		}
		p.isDir[name[:i]] = true
	}
	dir, known := p.isDir[name]
	switch {
	case known && dir != isDir:
		return fmt.Errorf("%q is a file and a directory", clip(name))
	case known && !isDir:
		return fmt.Errorf("%q appears twice", clip(name))
	}
	p.isDir[name] = isDir
	if !isDir {
		p.files++
	}
	if len(p.isDir) > maxPaths || p.files > maxEntries {
		return errors.New("it has too many entries")
	}
	return nil
}

// cleanPath accepts a relative path that no system reads as anything else.
func cleanPath(name string) error {
	switch {
	case name == "" || len(name) > maxPathText || !utf8.ValidString(name):
		return fmt.Errorf("%q is not a usable path", clip(name))
	case name[0] == '/' || strings.Contains(name, `\`) || len(name) > 1 && name[1] == ':':
		return fmt.Errorf("path %q is absolute, or is on some systems", clip(name))
	}
	depth := 0
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("path %q leads out of the archive or is not plain", clip(name))
		}
		depth++
	}
	if depth > maxDepth {
		return fmt.Errorf("path %q is deeper than %d", clip(name), maxDepth)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("path %q holds a control character", clip(name))
		}
	}
	return nil
}

// readText reads one small file of an archive.
func readText(r io.Reader, what string, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", what, err)
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", what, most)
	}
	return body, nil
}

// inspect reads the whole of a distribution file and returns its core metadata.
// An error names what is wrong with it, in words for its author.
func (d *distribution) inspect(ctx context.Context, file formats.File) ([]byte, error) {
	var text []byte
	var err error
	switch {
	case d.filetype == typeWheel:
		text, err = d.inspectWheel(ctx, file)
	case strings.HasSuffix(d.file, ".zip"):
		text, err = d.inspectSourceZip(ctx, file)
	default:
		text, err = d.inspectSourceTar(ctx, file)
	}
	if err != nil {
		return nil, err
	}
	m, err := readCoreMetadata(text)
	if err != nil {
		return nil, err
	}
	return text, m.belongs(d)
}
