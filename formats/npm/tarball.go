package npm

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"larder/formats"
)

// Limits of a tarball that is published, all counted and never read from
// headers.
const (
	maxUnpacked    = 8 << 30 // bytes behind gzip, headers included
	maxEntries     = 200_000
	maxPackageJSON = 8 << 20
	tarballFree    = 64 << 20 // an inflated size that is never too much
	tarballRatio   = 250
	maxEntryName   = 4096
)

// contents is what a tarball holds.
type contents struct {
	files       int
	size        int64 // of the files
	packageJSON []byte
}

func badTarball(format string, args ...any) *formats.Refusal {
	return formats.Refuse(formats.BadRequest, "the tarball is refused: "+format, args...)
}

// unpack counts what comes out of a gzip stream and holds it to the limits.
type unpack struct {
	z   io.Reader
	in  *counted
	n   int64
	err error
}

func newUnpack(f formats.File) (*unpack, error) {
	in := &counted{r: io.NewSectionReader(f, 0, f.Size())}
	z, err := gzip.NewReader(bufio.NewReaderSize(in, 64<<10))
	if err != nil {
		return nil, badTarball("it is not compressed with gzip").Because(err)
	}
	return &unpack{z: z, in: in}, nil
}

func (u *unpack) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.z.Read(p)
	u.n += int64(n)
	var corrupt flate.CorruptInputError
	switch {
	case u.n > maxUnpacked:
		err = badTarball("it unpacks to more than %d bytes", int64(maxUnpacked))
	case u.n > tarballFree && u.n/tarballRatio > u.in.n:
		err = badTarball("it unpacks to more than %d times its size", tarballRatio)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &corrupt):
		err = badTarball("its gzip stream is damaged").Because(err)
	}
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}

// inspectTarball reads a tarball to its end. It is refused whole for anything
// that a client could unpack elsewhere than another one, or outside its folder:
// links and devices, names that climb, two files of one name, bytes behind the
// end. Every client takes the first segment of each name away, whatever it is.
func inspectTarball(ctx context.Context, f formats.File) (*contents, error) {
	u, err := newUnpack(f)
	if err != nil {
		return nil, err
	}
	found := &contents{}
	seen := map[[16]byte]bool{}
	tr := tar.NewReader(u)
	for entries := 0; ; entries++ {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return found, u.rest()
		case err != nil:
			return nil, u.blame(err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case entries == maxEntries:
			return nil, badTarball("it has more than %d entries", maxEntries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := entryName(h)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		sum := sha256.Sum256([]byte(name))
		key := [16]byte(sum[:16])
		if seen[key] {
			return nil, badTarball("it holds %q twice", clip(name))
		}
		seen[key] = true
		if err := found.file(tr, name); err != nil {
			return nil, u.blame(err)
		}
	}
}

// file takes one regular file.
func (c *contents) file(r io.Reader, name string) error {
	c.files++
	if !strings.EqualFold(name, "package.json") {
		n, err := io.Copy(io.Discard, r)
		c.size += n
		return err
	}
	if c.packageJSON != nil || name != "package.json" {
		return badTarball("it holds package.json in two spellings, or in a wrong one")
	}
	b, err := io.ReadAll(io.LimitReader(r, maxPackageJSON+1))
	if err != nil {
		return err
	}
	if len(b) > maxPackageJSON {
		return badTarball("its package.json is over %d bytes", maxPackageJSON)
	}
	c.size += int64(len(b))
	c.packageJSON = append([]byte{}, bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))...)
	return nil
}

// blame says whose fault an error of the tar reader is.
func (u *unpack) blame(err error) error {
	var refusal *formats.Refusal
	switch {
	case errors.As(err, &refusal):
		return err
	case u.err != nil:
		return u.err
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrFieldTooLong):
		return badTarball("it is not a well-formed tar archive").Because(err)
	}
	return fmt.Errorf("read tarball: %w", err)
}

// rest reads what stands behind the archive's end, which must be zeros: another
// reader might go on there.
func (u *unpack) rest() error {
	buf := make([]byte, 32<<10)
	for {
		n, err := u.Read(buf)
		for _, c := range buf[:n] {
			if c != 0 {
				return badTarball("bytes follow the end of the archive")
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return u.blame(err)
		}
	}
}

// entryName checks an entry and returns its name as clients unpack it, without
// the first segment.
func entryName(h *tar.Header) (string, error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeLink, tar.TypeSymlink:
		return "", badTarball("%q is a link", clip(h.Name))
	default:
		return "", badTarball("%q is neither a file nor a folder", clip(h.Name))
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", badTarball("%q is a sparse file", clip(h.Name))
		}
	}
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if len(name) > maxEntryName || strings.ContainsAny(name, "\\\x00") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", badTarball("%q cannot be the name of a file", clip(name))
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." || len(segment) >= 2 && segment[1] == ':' {
			return "", badTarball("%q leads out of the package", clip(name))
		}
	}
	_, rest, ok := strings.Cut(name, "/")
	if !ok && h.Typeflag != tar.TypeDir {
		return "", badTarball("%q stands beside the package's folder", clip(name))
	}
	return rest, nil
}

// check holds the package.json inside to the coordinate. npm publishes
// "v1.0.0" and "1.0.0+build" as 1.0.0.
func (c *contents) check(name, version string) error {
	if c.packageJSON == nil {
		return badTarball("it has no package.json")
	}
	b := bytes.TrimSpace(c.packageJSON)
	if end, err := checkValue(b, 0, 0); err != nil || end != len(b) || b[0] != '{' {
		return badTarball("its package.json cannot be read").Because(err)
	}
	if err := checkOnce(b); err != nil {
		return err
	}
	if got := strings.TrimSpace(text(find(b, "name"))); got != name {
		return badTarball("its package.json is of %q, not of %s", clip(got), name)
	}
	got := strings.TrimLeft(strings.TrimSpace(text(find(b, "version"))), "=v ")
	if got, _, _ = strings.Cut(got, "+"); got != version {
		return badTarball("its package.json has version %q, not %s", clip(got), version)
	}
	return nil
}
