package pypi

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"

	"larder/formats"
)

// walkZip reads every entry of an archive to its end, so that sizes and
// checksums are proved, and gives each file to visit.
func walkZip(ctx context.Context, file formats.File, z *zip.Reader, visit func(e *zip.File, r io.Reader) error) error {
	if err := checkLayout(file, z); err != nil {
		return err
	}
	names, out := newPaths(), newOutput(ctx, file.Size())
	for _, e := range z.File {
		isDir := strings.HasSuffix(e.Name, "/")
		if err := names.add(e.Name, isDir); err != nil {
			return err
		}
		if err := plainEntry(e, isDir); err != nil {
			return err
		}
		if isDir {
			continue
		}
		r, err := openEntry(e)
		if err != nil {
			return err
		}
		if err := visit(e, out.of(r)); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, out.of(r)); err != nil {
			return fmt.Errorf("unpack %q: %w", clip(e.Name), err)
		}
	}
	return nil
}

// entryReader unpacks one entry and proves at its end what the directory says
// of it, and that its packed bytes are used up: what they hold beyond would be
// the next entry to a reader that goes through the archive from its start.
type entryReader struct {
	e   *zip.File
	raw *bufio.Reader
	r   io.Reader
	crc hash.Hash32
	n   uint64
}

func openEntry(e *zip.File) (*entryReader, error) {
	raw, err := e.OpenRaw()
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", clip(e.Name), err)
	}
	r := &entryReader{e: e, raw: bufio.NewReader(raw), crc: crc32.NewIEEE()}
	r.r = r.raw
	if e.Method == zip.Deflate {
		r.r = flate.NewReader(r.raw)
	}
	return r, nil
}

func (r *entryReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.crc.Write(p[:n])
	r.n += uint64(n)
	if err != io.EOF {
		return n, err
	}
	if r.n != r.e.UncompressedSize64 || r.crc.Sum32() != r.e.CRC32 {
		return n, errors.New("size or checksum is not as the archive's directory says")
	}
	if _, err := r.raw.ReadByte(); err != io.EOF {
		return n, errTwoReadings
	}
	return n, io.EOF
}

// plainEntry refuses what is not simply a file or a directory. The type bits
// count whatever system the entry claims to come from.
func plainEntry(e *zip.File, isDir bool) error {
	const typeMask, regular, directory = 0xf000, 0x8000, 0x4000
	kind := (e.ExternalAttrs >> 16) & typeMask
	switch {
	case e.Flags&flagEncrypted != 0 || e.Method != zip.Store && e.Method != zip.Deflate:
		return fmt.Errorf("%q is encrypted or packed in a way that not all installers read", clip(e.Name))
	case kind != 0 && kind != regular && kind != directory:
		return fmt.Errorf("%q is a link or a special file", clip(e.Name))
	case kind == directory && !isDir || kind == regular && isDir || isDir && e.UncompressedSize64 != 0:
		return fmt.Errorf("%q is a file and a directory", clip(e.Name))
	}
	return nil
}

// inspectWheel reads a wheel: METADATA, WHEEL and RECORD must be there, and
// RECORD must name every file with its digest and no other (PEP 427).
func (d *distribution) inspectWheel(ctx context.Context, file formats.File) ([]byte, error) {
	z, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(d.file, "-")
	entry, err := metadataEntry(z, d.canon, fields[1])
	if err != nil {
		return nil, err
	}
	metadata, err := unpack(file, entry)
	if err != nil {
		return nil, err
	}
	info, _, _ := strings.Cut(entry.Name, "/")
	record, err := readRecord(z, info+"/RECORD")
	if err != nil {
		return nil, err
	}
	var wheel []byte
	err = walkZip(ctx, file, z, func(e *zip.File, r io.Reader) error {
		if dir, _, _ := strings.Cut(e.Name, "/"); dir != info && hasSuffixFold(dir, ".dist-info") {
			return fmt.Errorf("%q is of another package", clip(e.Name))
		}
		if e.Name == info+"/WHEEL" {
			var err error
			if wheel, err = readText(r, "WHEEL", maxMetadata); err != nil {
				return err
			}
			r = strings.NewReader(string(wheel))
		}
		return record.verify(e, r)
	})
	if err != nil {
		return nil, err
	}
	if err := checkWheelVersion(wheel); err != nil {
		return nil, err
	}
	return metadata, record.complete()
}

func checkWheelVersion(text []byte) error {
	if text == nil {
		return errors.New("it has no WHEEL")
	}
	m, err := readCoreMetadata(text)
	if err != nil {
		return errors.New("its WHEEL is not made of header fields")
	}
	if major, _, _ := strings.Cut(m.first("wheel-version"), "."); len(m.fields["wheel-version"]) != 1 || major != "1" {
		return fmt.Errorf("wheel version %q is not known", clip(m.first("wheel-version")))
	}
	return nil
}

func hasSuffixFold(s, suffix string) bool {
	_, ok := cutSuffixFold(s, suffix)
	return ok
}
