package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Prefixes of the key space, one byte each. DESIGN.md lists them.
const (
	preChunk   = 'b' // b <id> <uint32 n>: piece n of a large blob
	preOwner   = 'd' // d <id>: sum of the committed large blob with that id
	preGarbage = 'g' // g <id>: deleted while readers had it open
	preIndex   = 'i' // i <sum>: entry
	preLedger  = 'l' // l <seq>: ledger entry
	preMeta    = 'm' // m <name>
	preInline  = 'n' // n <id>: sum, bytes of a small blob
	preRow     = 'r' // r <key>: row
	preEnd     = 's'
)

const (
	metaUsage = "musage"
	metaMark  = "mmark" // no orphan has an id below this
	metaNext  = "mnext" // no id from this on has been used
	idLen     = 8
)

// blobKind says where the bytes of a blob are.
type blobKind byte

const (
	kindInline  blobKind = 1
	kindLarge   blobKind = 2
	kindMissing blobKind = 3 // dropped as corrupt; references are kept for the healing
)

// entry is the value of the index: everything known of a blob but its bytes.
type entry struct {
	kind     blobKind
	id       uint64
	size     int64
	created  int64 // Unix seconds
	accessed int64 // Unix seconds
	refs     int64
	pins     int64
	gen      int64 // another after every change but that of accessed
}

func (e *entry) append(b []byte) []byte {
	b = append(b, 1, byte(e.kind))
	b = binary.BigEndian.AppendUint64(b, e.id)
	b = binary.AppendUvarint(b, uint64(e.size))
	b = binary.AppendVarint(b, e.created)
	b = binary.AppendVarint(b, e.accessed)
	b = binary.AppendUvarint(b, uint64(e.refs))
	b = binary.AppendUvarint(b, uint64(e.pins))
	return binary.AppendVarint(b, e.gen)
}

var errEntry = errors.New("index entry is malformed")

func parseEntry(b []byte) (entry, error) {
	var e entry
	if len(b) < 2+idLen || b[0] != 1 || b[1] < byte(kindInline) || b[1] > byte(kindMissing) {
		return e, fmt.Errorf("%w: %w", ErrCorrupt, errEntry)
	}
	e.kind = blobKind(b[1])
	e.id = binary.BigEndian.Uint64(b[2:])
	p := fieldReader{b: b[2+idLen:]}
	e.size = int64(p.uvarint())
	e.created = p.varint()
	e.accessed = p.varint()
	e.refs = int64(p.uvarint())
	e.pins = int64(p.uvarint())
	e.gen = p.varint()
	if p.bad || len(p.b) != 0 || e.size < 0 || e.refs < 0 || e.pins < 0 {
		return e, fmt.Errorf("%w: %w", ErrCorrupt, errEntry)
	}
	return e, nil
}

// fieldReader takes varints off a slice and remembers failure.
type fieldReader struct {
	b   []byte
	bad bool
}

func (p *fieldReader) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *fieldReader) varint() int64 {
	v, n := binary.Varint(p.b)
	if n <= 0 {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

func indexKey(s Sum) []byte { return append([]byte{preIndex}, s[:]...) }

func idKey(prefix byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, id)
}

func chunkKey(id uint64, n uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(preChunk, id), n)
}

func ledgerKey(seq uint64) []byte { return idKey(preLedger, seq) }

func rowKey(key []byte) []byte {
	k := make([]byte, 0, 1+len(key))
	return append(append(k, preRow), key...)
}

// prefixEnd returns the first key after all keys that start with prefix; nil if
// there is none.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// usage is what the index adds up to, and where its counters stand. It is stored
// with every change, so that starting needs no scan.
type usage struct {
	inlineBlobs, inlineBytes int64
	largeBlobs, largeBytes   int64
	missing                  int64
	pinned                   int64 // blobs with at least one pin
	gen                      int64 // last generation given to an entry
	seq                      int64 // last sequence number given to a ledger entry
}

func (u *usage) bytes() int64 { return u.inlineBytes + u.largeBytes }

// count adds (sign 1) or removes (sign -1) one entry.
func (u *usage) count(e *entry, sign int64) {
	switch e.kind {
	case kindInline:
		u.inlineBlobs += sign
		u.inlineBytes += sign * e.size
	case kindLarge:
		u.largeBlobs += sign
		u.largeBytes += sign * e.size
	case kindMissing:
		u.missing += sign
	}
	if e.pins > 0 {
		u.pinned += sign
	}
}

// add adds (sign 1) or subtracts (sign -1) what v counts.
func (u *usage) add(v usage, sign int64) {
	u.inlineBlobs += sign * v.inlineBlobs
	u.inlineBytes += sign * v.inlineBytes
	u.largeBlobs += sign * v.largeBlobs
	u.largeBytes += sign * v.largeBytes
	u.missing += sign * v.missing
	u.pinned += sign * v.pinned
}

func (u *usage) append(b []byte) []byte {
	for _, v := range [...]int64{u.inlineBlobs, u.inlineBytes, u.largeBlobs, u.largeBytes, u.missing, u.pinned, u.gen, u.seq} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func parseUsage(b []byte) (usage, error) {
	p := fieldReader{b: b}
	u := usage{p.varint(), p.varint(), p.varint(), p.varint(), p.varint(), p.varint(), p.varint(), p.varint()}
	if p.bad || len(p.b) != 0 {
		return usage{}, fmt.Errorf("%w: usage record is malformed", ErrCorrupt)
	}
	return u, nil
}

func unix(t time.Time) int64 { return t.Unix() }
