package pypi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"larder/formats"
)

// Expect demands the digests and size of the row. Where no strong digest is
// known, the file is trusted on first use; it then has to look like what its
// name says, so that an error page is never pinned as a distribution.
func (f *Format) Expect(_ context.Context, _ formats.Connection, _ formats.Target, a *formats.Asset, _ http.Header, _ formats.Docs) (formats.Want, error) {
	if a == nil {
		return formats.Want{Whole: true}, nil
	}
	w := formats.Want{Digests: a.Digests, Size: a.Size, Whole: true}
	for _, d := range a.Digests {
		if d.Alg.Strong() {
			w.Whole = false
		}
	}
	return w, nil
}

// maxProvenance bounds a provenance object in bytes.
const maxProvenance = 8 << 20

// Check looks at a file that nothing else vouches for.
func (f *Format) Check(_ context.Context, t formats.Target, file formats.File, _ formats.Want) error {
	_, suffix, _ := companionOf(t.File)
	switch suffix {
	case metadataSuffix:
		head, err := readHead(file, 64<<10)
		if err != nil {
			return fmt.Errorf("read core metadata: %w", err)
		}
		if _, ok := parseMetadata(head)["metadata-version"]; !ok {
			return fmt.Errorf("%s is not core metadata", t.File)
		}
	case provenanceSuffix:
		if file.Size() > maxProvenance {
			return fmt.Errorf("%s is larger than %d bytes", t.File, maxProvenance)
		}
		raw, err := readHead(file, maxProvenance)
		if err != nil {
			return fmt.Errorf("read provenance: %w", err)
		}
		var object struct {
			Version int               `json:"version"`
			Bundles []json.RawMessage `json:"attestation_bundles"`
		}
		if err := json.Unmarshal(raw, &object); err != nil {
			return fmt.Errorf("%s is not a provenance object: %w", t.File, err)
		}
		if object.Version == 0 || object.Bundles == nil {
			return fmt.Errorf("%s is not a provenance object", t.File)
		}
	case signatureSuffix:
		return checkMagic(t.File, file, []byte("-----BEGIN PGP"), []byte{0x88}, []byte{0x89}, []byte{0xc2})
	default:
		return checkArchive(t.File, file)
	}
	return nil
}

func checkArchive(name string, file formats.File) error {
	switch extension(name) {
	case ".whl", ".zip", ".egg":
		return checkZip(name, file)
	case ".tar.gz", ".tgz":
		return checkMagic(name, file, []byte{0x1f, 0x8b})
	case ".tar.bz2", ".tbz":
		return checkMagic(name, file, []byte("BZh"))
	case ".tar.xz", ".txz":
		return checkMagic(name, file, []byte{0xfd, '7', 'z', 'X', 'Z', 0})
	case ".tar.Z":
		return checkMagic(name, file, []byte{0x1f, 0x9d})
	case ".exe":
		return checkMagic(name, file, []byte("MZ"))
	case ".msi":
		return checkMagic(name, file, []byte{0xd0, 0xcf, 0x11, 0xe0})
	case ".rpm":
		return checkMagic(name, file, []byte{0xed, 0xab, 0xee, 0xdb})
	case ".deb":
		return checkMagic(name, file, []byte("!<arch>"))
	}
	return nil
}

// checkZip looks at both ends, so that a cut file is told from a whole one.
func checkZip(name string, file formats.File) error {
	if err := checkMagic(name, file, []byte("PK\x03\x04"), []byte("PK\x05\x06")); err != nil {
		return err
	}
	tail := make([]byte, min(file.Size(), endSize+65_535))
	if _, err := file.ReadAt(tail, file.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read end of %s: %w", name, err)
	}
	if !bytes.Contains(tail, []byte("PK\x05\x06")) {
		return fmt.Errorf("%s is cut short", name)
	}
	return nil
}

func checkMagic(name string, file formats.File, magics ...[]byte) error {
	head, err := readHead(file, 16)
	if err != nil {
		return fmt.Errorf("read start of %s: %w", name, err)
	}
	for _, m := range magics {
		if bytes.HasPrefix(head, m) {
			return nil
		}
	}
	return fmt.Errorf("%s does not begin like such a file", name)
}

// readHead reads at most n bytes from the start of a file.
func readHead(file formats.File, n int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(file, 0, min(n, file.Size())))
}
