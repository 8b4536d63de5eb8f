package golangtest

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// database is a checksum database: a log of records, one for each version, in
// the order in which they were added.
type database struct {
	signer note.Signer

	mu      sync.Mutex
	records [][]byte
	ids     map[module.Version]int64
	hashes  hashes
}

var _ sumdb.ServerOps = (*database)(nil)

// hashes are the log's stored hashes (golang.org/x/mod/sumdb/tlog).
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, 0, len(indexes))
	for _, i := range indexes {
		if i >= int64(len(h)) {
			return nil, os.ErrNotExist // as it is: sumdb.Server knows no wrapped error
		}
		out = append(out, h[i])
	}
	return out, nil
}

// keys makes a note key pair (golang.org/x/mod/sumdb/note) that is the same in
// every run.
func keys(name string) (signer, verifier string) {
	seed := sha256.Sum256([]byte("golangtest " + name))
	private := ed25519.NewKeyFromSeed(seed[:])
	const algEd25519 = 1
	public := append([]byte{algEd25519}, private.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), public...))
	hash := binary.BigEndian.Uint32(sum[:4])
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, hash, encode(append([]byte{algEd25519}, seed[:]...))),
		fmt.Sprintf("%s+%08x+%s", name, hash, encode(public))
}

// add appends the record of a version, once.
func (d *database) add(m module.Version, rel *release) error {
	record, err := goSum(m, rel)
	if err != nil {
		return err
	}
	return d.record(m, record)
}

// grow adds n records without modules.
func (d *database) grow(n int) error {
	d.mu.Lock()
	first := len(d.records)
	d.mu.Unlock()
	for i := range n {
		m := module.Version{Path: fmt.Sprintf("elsewhere.example/m%d", first+i), Version: "v1.0.0"}
		sum := sha256.Sum256([]byte(m.Path))
		h1 := "h1:" + base64.StdEncoding.EncodeToString(sum[:])
		if err := d.record(m, fmt.Appendf(nil, "%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, h1, m.Path, m.Version, h1)); err != nil {
			return err
		}
	}
	return nil
}

func (d *database) record(m module.Version, record []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.ids[m]; ok {
		return nil
	}
	id := int64(len(d.records))
	more, err := tlog.StoredHashesForRecordHash(id, tlog.RecordHash(record), d.hashes)
	if err != nil {
		return err
	}
	d.records, d.hashes, d.ids[m] = append(d.records, record), append(d.hashes, more...), id
	return nil
}

// goSum is a record: the two go.sum lines of a version.
func goSum(m module.Version, rel *release) ([]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(rel.zip), int64(len(rel.zip)))
	if err != nil {
		return nil, err
	}
	var names []string
	byName := make(map[string]*zip.File)
	for _, f := range z.File {
		names = append(names, f.Name)
		byName[f.Name] = f
	}
	zipSum, err := dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return byName[name].Open() })
	if err != nil {
		return nil, err
	}
	modSum, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(rel.mod)), nil
	})
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, zipSum, m.Path, m.Version, modSum), nil
}

func (d *database) Signed(context.Context) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := int64(len(d.records))
	hash, err := tlog.TreeHash(size, d.hashes)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: string(tlog.FormatTree(tlog.Tree{N: size, Hash: hash}))}, d.signer)
}

func (d *database) ReadRecords(_ context.Context, id, n int64) ([][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id < 0 || n < 0 || id+n > int64(len(d.records)) {
		return nil, os.ErrNotExist
	}
	return append([][]byte(nil), d.records[id:id+n]...), nil
}

func (d *database) Lookup(_ context.Context, m module.Version) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.ids[m]
	if !ok {
		return 0, os.ErrNotExist
	}
	return id, nil
}

func (d *database) ReadTileData(_ context.Context, t tlog.Tile) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return tlog.ReadTileData(t, d.hashes)
}
