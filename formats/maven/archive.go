package maven

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"larder/formats"
)

// Limits of a deployed archive. The largest known ones have some 200,000
// entries; deflate cannot pack better than 1 to 1,032.
const (
	maxEntries      = 500_000
	maxDirectory    = 128 << 20 // bytes of the central directory
	maxDeflateRatio = 1032
	maxTotalRatio   = 200     // unpacked bytes per packed one, beyond
	freeUnpacked    = 1 << 30 // so many unpacked bytes
)

var errNoArchive = errors.New("no end of a central directory")

// checkArchive looks at the central directory of a zip archive, which is what a
// Java runtime goes by. A file that is no archive at all passes, whatever its
// name says: it can do nothing that an archive could.
func checkArchive(name string, f formats.File) error {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "jar", "war", "ear", "aar", "rar", "zip", "kar", "nar", "par", "sar", "klib":
	default:
		return nil
	}
	dir, err := findDirectory(f)
	if errors.Is(err, errNoArchive) {
		head := make([]byte, 4)
		if n, _ := f.ReadAt(head, 0); n < len(head) || string(head) != "PK\x03\x04" {
			return nil
		}
	}
	if err == nil {
		err = dir.walk(f)
	}
	if err != nil {
		return formats.Refuse(formats.BadRequest, "%s is not accepted as an archive: %v", name, err).Because(err)
	}
	return nil
}

// centralDirectory is where the central directory lies (APPNOTE.TXT 4.3.12 to 4.3.16).
type centralDirectory struct {
	start, size int64
	shift       int64 // bytes before the archive (self-extracting ones)
	entries     uint64
	wide        bool // zip64: entries is exact
}

func findDirectory(f formats.File) (*centralDirectory, error) {
	const endLen, maxComment = 22, 1<<16 - 1
	tail := make([]byte, min(f.Size(), endLen+maxComment))
	at := f.Size() - int64(len(tail))
	if err := readAt(f, tail, at); err != nil {
		return nil, err
	}
	i := len(tail) - endLen
	for ; i >= 0; i-- {
		if string(tail[i:i+4]) == "PK\x05\x06" && i+endLen+int(binary.LittleEndian.Uint16(tail[i+20:])) == len(tail) {
			break
		}
	}
	if i < 0 {
		return nil, errNoArchive
	}
	end := tail[i:]
	d := &centralDirectory{entries: uint64(binary.LittleEndian.Uint16(end[10:])), size: int64(binary.LittleEndian.Uint32(end[12:]))}
	offset, stop := int64(binary.LittleEndian.Uint32(end[16:])), at+int64(i)
	if binary.LittleEndian.Uint16(end[4:]) != binary.LittleEndian.Uint16(end[6:]) {
		return nil, errors.New("it has several parts")
	}
	if d.entries == math.MaxUint16 || d.size == math.MaxUint32 || offset == math.MaxUint32 {
		if err := d.widen(f, &offset, &stop); err != nil {
			return nil, err
		}
	}
	d.start = stop - d.size
	d.shift = d.start - offset
	if d.size < 0 || d.size > maxDirectory || offset < 0 || d.start < 0 || d.shift < 0 {
		return nil, errors.New("its central directory does not lie where it should")
	}
	return d, nil
}

// widen reads the zip64 end record, where there is one.
func (d *centralDirectory) widen(f formats.File, offset, stop *int64) error {
	const locatorLen, recordLen = 20, 56
	locator := make([]byte, locatorLen)
	at := *stop - locatorLen
	if at < recordLen || readAt(f, locator, at) != nil || string(locator[:4]) != "PK\x06\x07" {
		return nil // the numbers are what they are
	}
	record := make([]byte, recordLen)
	for _, pos := range []int64{int64(binary.LittleEndian.Uint64(locator[8:])), at - recordLen} {
		if pos < 0 || pos > at-recordLen || readAt(f, record, pos) != nil || string(record[:4]) != "PK\x06\x06" {
			continue
		}
		d.wide = true
		d.entries = binary.LittleEndian.Uint64(record[32:])
		d.size = int64(binary.LittleEndian.Uint64(record[40:]))
		*offset, *stop = int64(binary.LittleEndian.Uint64(record[48:])), pos
		return nil
	}
	return errors.New("its zip64 end record is missing")
}

func readAt(f formats.File, p []byte, at int64) error {
	if n, err := f.ReadAt(p, at); n < len(p) {
		return fmt.Errorf("read at %d: %w", at, err)
	}
	return nil
}

// entry is what the central directory says of one file.
type entry struct {
	name             []byte
	method           uint16
	crc              uint32
	packed, unpacked uint64
	offset           uint64
}

// content tells entries of one name apart.
type content struct {
	crc      uint32
	unpacked uint64
}

func (d *centralDirectory) walk(f formats.File) error {
	r := bufio.NewReader(io.NewSectionReader(f, d.start, d.size))
	seen := map[[16]byte]content{}
	var count, packed, unpacked uint64
	for {
		e, err := readEntry(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if count++; count > maxEntries {
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		if err := e.check(uint64(d.start - d.shift)); err != nil {
			return fmt.Errorf("entry %.200q: %w", e.name, err)
		}
		var key [16]byte
		sum := sha256.Sum256(e.name)
		copy(key[:], sum[:])
		is := content{e.crc, e.unpacked}
		if was, dup := seen[key]; dup && was != is && !isNotice(string(e.name)) {
			return fmt.Errorf("entry %.200q is there twice with different bytes", e.name)
		}
		seen[key] = is
		packed += e.packed + localHeader
		unpacked += e.unpacked
	}
	switch {
	case count != d.entries && (d.wide || count&math.MaxUint16 != d.entries):
		return fmt.Errorf("it has %d entries and claims %d", count, d.entries)
	case packed > uint64(d.start):
		return errors.New("its entries overlap")
	case unpacked > freeUnpacked && unpacked/maxTotalRatio > uint64(f.Size()):
		return fmt.Errorf("%d bytes would become %d", f.Size(), unpacked)
	}
	return nil
}

const localHeader = 30 // bytes of a local file header without its name

// readEntry reads one entry; io.EOF at the directory's end.
func readEntry(r *bufio.Reader) (*entry, error) {
	var h [46]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, errors.New("its central directory is cut off")
	}
	if string(h[:4]) != "PK\x01\x02" {
		return nil, errors.New("its central directory is broken")
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(h[at:])) }
	u32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(h[at:])) }
	rest := make([]byte, u16(28)+u16(30)+u16(32))
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, errors.New("its central directory is cut off")
	}
	e := &entry{name: rest[:u16(28)], method: uint16(u16(10)), crc: uint32(u32(16)), packed: u32(20), unpacked: u32(24), offset: u32(42)}
	return e, e.widen(rest[u16(28) : u16(28)+u16(30)])
}

// widen takes 64-bit numbers from the extra fields (APPNOTE.TXT 4.5.3).
func (e *entry) widen(extra []byte) error {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			return nil // padding that is no field, as some tools leave it
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, v := range []*uint64{&e.unpacked, &e.packed, &e.offset} {
			if *v != math.MaxUint32 {
				continue
			}
			if len(field) < 8 {
				return fmt.Errorf("entry %.200q: its zip64 field is too short", e.name)
			}
			*v, field = binary.LittleEndian.Uint64(field), field[8:]
		}
		return nil
	}
	return nil
}

// check refuses names that lead out of the place an archive is unpacked to, and
// sizes that cannot be.
func (e *entry) check(end uint64) error {
	const stored, deflated, sane = 0, 8, 1 << 40
	name := bytes.ReplaceAll(e.name, []byte{'\\'}, []byte{'/'})
	switch {
	case len(name) == 0 || bytes.IndexByte(name, 0) >= 0:
		return errors.New("no legal name")
	case name[0] == '/' || len(name) > 1 && name[1] == ':':
		return errors.New("an absolute name")
	}
	for _, seg := range bytes.Split(name, []byte{'/'}) {
		if string(seg) == ".." {
			return errors.New("a name that leads out of the archive")
		}
	}
	switch {
	case e.offset+localHeader > end || e.packed > end || e.unpacked > sane:
		return errors.New("it does not lie inside the archive")
	case e.method == stored && e.packed < e.unpacked, e.method == deflated && e.unpacked > e.packed*maxDeflateRatio:
		return fmt.Errorf("%d bytes cannot become %d", e.packed, e.unpacked)
	}
	return nil
}

// isNotice reports whether a name is of the texts that build tools leave several
// of when they unite archives. What a runtime loads or trusts is none.
func isNotice(name string) bool {
	rest, ok := strings.CutPrefix(strings.ToUpper(name), "META-INF/")
	if !ok || rest == "MANIFEST.MF" || strings.HasPrefix(rest, "VERSIONS/") || strings.HasSuffix(rest, ".CLASS") {
		return false
	}
	for _, signature := range []string{".SF", ".RSA", ".DSA", ".EC"} {
		if strings.HasSuffix(rest, signature) {
			return false
		}
	}
	return true
}
