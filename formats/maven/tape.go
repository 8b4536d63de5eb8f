package maven

import (
	"bufio"
	"fmt"
	"io"
)

// Limits of one maven-metadata.xml. The largest known ones are around a
// megabyte; nearly all of that is <version> elements, which are not kept.
const (
	maxDocument = 32 << 20 // bytes read in all
	maxKept     = 2 << 20  // bytes outside <versions>, or of one token inside
	maxVersions = 50_000
	maxDepth    = 32
	maxFragment = 64 << 10 // bytes of one unknown element that is kept
)

// tape feeds an xml.Decoder byte by byte (which keeps the decoder from reading
// ahead) and remembers what was read until it is dropped, so that fragments can
// be cut out byte-exact by the decoder's own offsets.
type tape struct {
	r    *bufio.Reader
	base int64 // offset of buf[0]
	buf  []byte
}

func newTape(r io.Reader) *tape { return &tape{r: bufio.NewReader(r)} }

// ReadByte implements io.ByteReader.
func (t *tape) ReadByte() (byte, error) {
	c, err := t.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if len(t.buf) >= maxKept || t.base+int64(len(t.buf)) >= maxDocument {
		return 0, fmt.Errorf("document is over its limit (%d bytes outside the version list, %d in all)", maxKept, maxDocument)
	}
	t.buf = append(t.buf, c)
	return c, nil
}

// Read implements io.Reader; the decoder prefers ReadByte.
func (t *tape) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := t.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

// cut returns the bytes [from, to), which must not have been dropped.
func (t *tape) cut(from, to int64) []byte { return t.buf[from-t.base : to-t.base] }

// drop forgets everything before upto.
func (t *tape) drop(upto int64) {
	n := copy(t.buf, t.buf[upto-t.base:])
	t.buf, t.base = t.buf[:n], upto
}
