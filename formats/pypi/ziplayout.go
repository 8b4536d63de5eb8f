package pypi

import (
	"archive/zip"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"larder/formats"
)

const (
	localSignature      = 0x04034b50
	directorySignature  = 0x02014b50
	descriptorSignature = 0x08074b50
	localSize           = 30
	directorySize       = 46
	flagEncrypted       = 1 << 0
	flagDescriptor      = 1 << 3
	zip64Mark           = 0xffffffff
	zip64Extra          = 1
)

// errTwoReadings refuses an archive that one reader unpacks otherwise than
// another: by the directory at its end, or entry by entry from its start (uv
// reads wheels that way while they arrive).
var errTwoReadings = errors.New("readers of this ZIP archive would not agree on what it holds")

// span is where an entry lies, header and data.
type span struct {
	entry      *zip.File
	start, end int64
}

// checkLayout demands that entries fill the archive from its first byte to its
// directory, and that each says at its own place what the directory says.
func checkLayout(file formats.File, z *zip.Reader) error {
	end, err := readEnd(file)
	if err != nil {
		return err
	}
	directory := make([]byte, end.size)
	if _, err := file.ReadAt(directory, end.start); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read archive's directory: %w", err)
	}
	spans := make([]span, 0, len(z.File))
	for _, e := range z.File {
		if len(directory) < directorySize || binary.LittleEndian.Uint32(directory) != directorySignature {
			return errTwoReadings
		}
		name, extra, comment := int(binary.LittleEndian.Uint16(directory[28:])), int(binary.LittleEndian.Uint16(directory[30:])), int(binary.LittleEndian.Uint16(directory[32:]))
		at := int64(binary.LittleEndian.Uint32(directory[42:]))
		next := directorySize + name + extra + comment
		if len(directory) < next || string(directory[directorySize:directorySize+name]) != e.Name || at == zip64Mark {
			return errTwoReadings
		}
		directory = directory[next:]
		s, err := readLocal(file, e, at)
		if err != nil {
			return err
		}
		spans = append(spans, s)
	}
	if len(directory) > 0 {
		return errTwoReadings
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	at := int64(0)
	for i, s := range spans {
		if s.start != at {
			return errTwoReadings
		}
		at = end.start
		if i+1 < len(spans) {
			at = spans[i+1].start
		}
		if err := checkDescriptor(file, s, at-s.end); err != nil {
			return err
		}
	}
	if at != end.start {
		return errTwoReadings
	}
	return nil
}

// readLocal compares an entry's own header with the directory's.
func readLocal(file formats.File, e *zip.File, at int64) (span, error) {
	head := make([]byte, localSize)
	if _, err := file.ReadAt(head, at); err != nil {
		return span{}, errTwoReadings
	}
	name, extra := int(binary.LittleEndian.Uint16(head[26:])), int(binary.LittleEndian.Uint16(head[28:]))
	text := make([]byte, name+extra)
	if _, err := file.ReadAt(text, at+localSize); err != nil && !errors.Is(err, io.EOF) {
		return span{}, errTwoReadings
	}
	const decides = flagEncrypted | flagDescriptor
	flags := binary.LittleEndian.Uint16(head[6:])
	if binary.LittleEndian.Uint32(head) != localSignature || binary.LittleEndian.Uint16(head[8:]) != e.Method ||
		flags&decides != e.Flags&decides || string(text[:name]) != e.Name {
		return span{}, errTwoReadings
	}
	if flags&flagDescriptor == 0 {
		packed, size := localSizes(head, text[name:])
		if packed != e.CompressedSize64 || size != e.UncompressedSize64 || binary.LittleEndian.Uint32(head[14:]) != e.CRC32 {
			return span{}, errTwoReadings
		}
	}
	from := at + localSize + int64(name) + int64(extra)
	if e.CompressedSize64 > uint64(file.Size()-min(from, file.Size())) {
		return span{}, errTwoReadings
	}
	return span{e, at, from + int64(e.CompressedSize64)}, nil
}

// localSizes reads the sizes of a local header, from its ZIP64 extra field
// where they are said to stand there.
func localSizes(head, extra []byte) (packed, size uint64) {
	packed, size = uint64(binary.LittleEndian.Uint32(head[18:])), uint64(binary.LittleEndian.Uint32(head[22:]))
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if len(extra) < 4+n {
			break
		}
		body := extra[4 : 4+n]
		extra = extra[4+n:]
		if id != zip64Extra {
			continue
		}
		if size == zip64Mark && len(body) >= 8 {
			size, body = binary.LittleEndian.Uint64(body), body[8:]
		}
		if packed == zip64Mark && len(body) >= 8 {
			packed = binary.LittleEndian.Uint64(body)
		}
		break
	}
	return packed, size
}

// checkDescriptor looks at what stands between an entry and the next: nothing,
// or the entry's data descriptor.
func checkDescriptor(file formats.File, s span, gap int64) error {
	if s.entry.Flags&flagDescriptor == 0 {
		if gap != 0 {
			return errTwoReadings
		}
		return nil
	}
	if gap != 12 && gap != 16 && gap != 20 && gap != 24 {
		return errTwoReadings
	}
	d := make([]byte, gap)
	if _, err := file.ReadAt(d, s.end); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read data descriptor: %w", err)
	}
	if gap == 16 || gap == 24 {
		if binary.LittleEndian.Uint32(d) != descriptorSignature {
			return errTwoReadings
		}
		d = d[4:]
	}
	packed, size := uint64(binary.LittleEndian.Uint32(d[4:])), uint64(binary.LittleEndian.Uint32(d[8:]))
	if len(d) == 20 {
		packed, size = binary.LittleEndian.Uint64(d[4:]), binary.LittleEndian.Uint64(d[12:])
	}
	if binary.LittleEndian.Uint32(d) != s.entry.CRC32 || packed != s.entry.CompressedSize64 || size != s.entry.UncompressedSize64 {
		return errTwoReadings
	}
	return nil
}
