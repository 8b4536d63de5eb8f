package pypi

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"larder/formats"
)

// Limits on a wheel's RECORD, in bytes.
const (
	maxRecord     = 16 << 20 // unpacked
	maxRecordLine = 4 << 10
)

// record is a wheel's RECORD while its files are compared with it.
type record struct {
	name string
	rows map[string]recordRow
}

type recordRow struct {
	alg  formats.Alg
	sum  []byte
	size int64 // -1 not stated
}

func readRecord(z *zip.Reader, name string) (*record, error) {
	var entry *zip.File
	for _, e := range z.File {
		if e.Name == name {
			entry = e
		}
	}
	if entry == nil {
		return nil, errors.New("it has no RECORD")
	}
	f, err := entry.Open()
	if err != nil {
		return nil, fmt.Errorf("open RECORD: %w", err)
	}
	defer f.Close()
	text, err := readText(f, "RECORD", maxRecord)
	if err != nil {
		return nil, err
	}
	// Bounded lines bound a record's fields before the reader splits them.
	for line := range bytes.Lines(text) {
		if len(line) > maxRecordLine || bytes.Count(line, []byte{'"'})%2 != 0 {
			return nil, errors.New("a line of RECORD is too long or its quotes do not close")
		}
	}
	rows := csv.NewReader(bytes.NewReader(text))
	rows.FieldsPerRecord, rows.ReuseRecord = -1, true
	rec := &record{name: name, rows: make(map[string]recordRow)}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return rec, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read RECORD: %w", err)
		}
		if err := rec.add(row); err != nil {
			return nil, err
		}
	}
}

// unrecorded reports whether a file of the wheel's own need not have a digest.
func (rec *record) unrecorded(name string) bool {
	return name == rec.name || name == rec.name+".jws" || name == rec.name+".p7s"
}

func (rec *record) add(row []string) error {
	if len(row) != 3 {
		return errors.New("a line of RECORD has not three fields")
	}
	name := strings.Clone(row[0])
	if _, twice := rec.rows[name]; twice || len(rec.rows) > maxEntries {
		return fmt.Errorf("RECORD names %q twice, or too many files", clip(name))
	}
	out := recordRow{size: -1}
	if row[2] != "" {
		n, err := strconv.ParseInt(row[2], 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("RECORD gives %q no size", clip(name))
		}
		out.size = n
	}
	if !rec.unrecorded(name) || row[1] != "" {
		alg, text, _ := strings.Cut(row[1], "=")
		out.alg = formats.Alg(strings.ToLower(alg))
		if !out.alg.Strong() || out.alg.New() == nil {
			return fmt.Errorf("RECORD gives %q no digest of SHA-256 or better", clip(name))
		}
		var err error
		if out.sum, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=")); err != nil {
			return fmt.Errorf("RECORD gives %q no readable digest", clip(name))
		}
	}
	rec.rows[name] = out
	return nil
}

// verify reads one file and strikes it off.
func (rec *record) verify(e *zip.File, r io.Reader) error {
	row, ok := rec.rows[e.Name]
	if !ok {
		if rec.unrecorded(e.Name) {
			return nil
		}
		return fmt.Errorf("RECORD does not name %q", clip(e.Name))
	}
	delete(rec.rows, e.Name)
	var h hash.Hash
	w := io.Discard
	if row.sum != nil {
		h = row.alg.New()
		w = h
	}
	n, err := io.CopyBuffer(w, r, make([]byte, min(copyBuffer, int64(e.UncompressedSize64)+512)))
	switch {
	case err != nil:
		return fmt.Errorf("unpack %q: %w", clip(e.Name), err)
	case row.size >= 0 && row.size != n, h != nil && string(h.Sum(nil)) != string(row.sum):
		return fmt.Errorf("%q is not the file that RECORD names", clip(e.Name))
	}
	return nil
}

// complete reports whether every recorded file was there.
func (rec *record) complete() error {
	for name := range rec.rows {
		if !rec.unrecorded(name) {
			return fmt.Errorf("RECORD names %q, which is not there", clip(name))
		}
	}
	return nil
}
