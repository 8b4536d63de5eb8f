package pypi

import (
	"encoding/json"
	"time"

	"larder/formats"
)

// entry is one distribution file of a view with everything a page says of it.
type entry struct {
	version *formats.Version
	asset   *formats.Asset
	file    *file
	held    *formats.HeldAsset // nil when the store lacks the file
}

// heldFile describes a file that no listing ever named from what the store
// knows of it.
func heldFile(a *formats.Asset, h *formats.HeldAsset) *file {
	f := &file{name: a.File, size: -1, hashes: make(map[string]string)}
	for _, d := range a.Digests {
		f.hashes[string(d.Alg)] = d.Hex
	}
	if a.Size > 0 {
		f.size = a.Size
	}
	if h != nil {
		f.requiresPython = readWheelFacts(h.Aux).RequiresPython
		if !h.LastModified.IsZero() {
			f.uploadTime = h.LastModified.UTC().Format(time.RFC3339)
		}
	}
	return f
}

// size is the file's length, -1 unknown.
func (e *entry) size() int64 {
	if e.file.size < 0 && e.held != nil {
		return e.held.Size
	}
	return e.file.size
}

// hashes are upstream's, with the SHA-256 of what is held where upstream gave
// none.
func (e *entry) hashes() map[string]string {
	out := e.file.hashes
	if _, ok := out[string(formats.SHA256)]; ok || e.held == nil {
		return out
	}
	d, ok := e.held.Digest(formats.SHA256)
	if !ok {
		return out
	}
	all := map[string]string{string(formats.SHA256): d.Hex}
	for alg, hexText := range out {
		all[alg] = hexText
	}
	return all
}

// metadata says whether core metadata can be served beside the file, and its
// digests (nil: unknown). Held bytes are what a client would get, so their
// digest counts; else upstream's word, as long as the companion is listed.
func (e *entry) metadata() (hashes map[string]string, ok bool) {
	name := e.asset.File + metadataSuffix
	if h, held := e.version.Held[name]; held {
		d, known := h.Digest(formats.SHA256)
		if !known {
			return nil, true
		}
		if e.file.metadataHashes[string(formats.SHA256)] == d.Hex {
			return e.file.metadataHashes, true
		}
		return map[string]string{string(formats.SHA256): d.Hex}, true
	}
	if e.file.metadata && e.version.Asset(name) != nil {
		return e.file.metadataHashes, true
	}
	return nil, false
}

// companion reports whether the asset with the given suffix can be served.
func (e *entry) companion(suffix string) bool {
	return e.version.Asset(e.asset.File+suffix) != nil
}

// link is the file's URL relative to the project page.
func (e *entry) link() string {
	return escapeSegment(e.version.V) + "/" + escapeSegment(e.asset.File)
}

func encodeHashes(hashes map[string]string) []byte {
	if len(hashes) == 0 {
		return []byte("{}")
	}
	raw, err := json.Marshal(hashes)
	if err != nil {
		return []byte("{}")
	}
	return raw
}

func encodeMetadata(hashes map[string]string) []byte {
	if len(hashes) == 0 {
		return []byte("true")
	}
	return encodeHashes(hashes)
}

func sameHashes(a, b map[string]string) bool {
	for alg, hexText := range a {
		if b[alg] != hexText {
			return false
		}
	}
	return len(a) == len(b)
}
