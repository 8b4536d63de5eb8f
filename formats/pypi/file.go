package pypi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"larder/formats"
)

// file is one entry of a project page, decoded from its fragment. Whatever the
// page was written in, the fragment is a JSON object as in PEP 691; members
// hold it byte-exact.
type file struct {
	members        []member
	name           string
	url            string // as upstream wrote it
	hashes         map[string]string
	requiresPython string
	yanked         bool
	yankedReason   string
	size           int64  // -1 unknown
	uploadTime     string // exact text
	metadata       bool   // upstream serves core metadata beside the file
	metadataHashes map[string]string
	provenance     string // URL as upstream wrote it
	signature      bool
	signatureSaid  bool
}

// Member names of a file (PEP 691, 700, 714, 740).
const (
	keyFilename   = "filename"
	keyURL        = "url"
	keyHashes     = "hashes"
	keyRequires   = "requires-python"
	keyYanked     = "yanked"
	keySize       = "size"
	keyUploadTime = "upload-time"
	keyMetadata   = "core-metadata"
	keyOldMeta    = "dist-info-metadata"
	keyOldestMeta = "data-dist-info-metadata"
	keyProvenance = "provenance"
	keySignature  = "gpg-sig"
)

// decodeFile reads a file's fragment. Members that clients act on must have the
// type the specification gives them; null counts as absent.
func decodeFile(raw []byte) (*file, error) {
	ms, err := members(raw)
	if err != nil {
		return nil, err
	}
	f := &file{members: ms, size: -1}
	// core-metadata decides; the older name is read only in its absence.
	var meta, oldMeta []byte
	for _, m := range ms {
		if isNull(m.raw) {
			continue
		}
		var err error
		switch m.key {
		case keyFilename:
			f.name, err = stringValue(m.raw)
		case keyURL:
			f.url, err = stringValue(m.raw)
		case keyHashes:
			f.hashes, err = textMap(m.raw)
		case keyRequires:
			f.requiresPython, err = stringValue(m.raw)
		case keyYanked:
			f.yanked, f.yankedReason, err = boolOrString(m.raw)
		case keySize:
			f.size, err = strconv.ParseInt(string(m.raw), 10, 64)
			if err == nil && f.size < 0 {
				err = fmt.Errorf("negative size %d", f.size)
			}
		case keyUploadTime:
			f.uploadTime, err = stringValue(m.raw)
		case keyMetadata:
			meta = m.raw
		case keyOldMeta:
			oldMeta = m.raw
		case keyProvenance:
			f.provenance, err = stringValue(m.raw)
		case keySignature:
			f.signatureSaid = true
			err = json.Unmarshal(m.raw, &f.signature)
		}
		if err != nil {
			return nil, fmt.Errorf("file member %q: %w", m.key, err)
		}
	}
	if meta == nil {
		meta = oldMeta
	}
	if err := f.readMetadata(meta); err != nil {
		return nil, fmt.Errorf("file member %q: %w", keyMetadata, err)
	}
	if f.name == "" || f.url == "" {
		return nil, fmt.Errorf("a file without name or URL")
	}
	return f, nil
}

// readMetadata reads true, false or a map of digests (PEP 714).
func (f *file) readMetadata(raw []byte) error {
	if raw == nil {
		return nil
	}
	if raw[0] != '{' {
		return json.Unmarshal(raw, &f.metadata)
	}
	f.metadata = true
	var err error
	f.metadataHashes, err = textMap(raw)
	return err
}

// boolOrString reads "yanked": a flag, or the reason, which implies it. PEP 691
// asks for a truthy value, so an empty string is not a yank.
func boolOrString(raw []byte) (bool, string, error) {
	if raw[0] == '"' {
		s, err := stringValue(raw)
		return s != "", s, err
	}
	var b bool
	err := json.Unmarshal(raw, &b)
	return b, "", err
}

// digests turns a map of hash names to hex into digests. Algorithms that cannot
// be computed here stay in the fragment only.
func digests(hashes map[string]string) ([]formats.Digest, error) {
	var out []formats.Digest
	for _, alg := range [...]formats.Alg{formats.SHA256, formats.SHA512, formats.SHA384, formats.SHA1, formats.MD5} {
		hexText, ok := hashes[string(alg)]
		if !ok {
			continue
		}
		d, err := formats.ParseDigest(alg, hexText)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// uploaded parses the upload time (ISO 8601, always UTC in PEP 700).
func (f *file) uploaded() (time.Time, formats.TimeSource) {
	if f.uploadTime == "" {
		return time.Time{}, formats.TimeUnknown
	}
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00"} {
		if t, err := time.Parse(layout, f.uploadTime); err == nil {
			return t.UTC(), formats.TimeUpstream
		}
	}
	return time.Time{}, formats.TimeUnknown
}

// assets makes the rows of a file: the distribution itself and the companions
// that upstream says it has. base resolves relative references.
func (f *file) assets(base *url.URL, raw []byte) ([]formats.Asset, error) {
	if !cleanSegment(f.name) {
		return nil, fmt.Errorf("file name %q is not usable", clip(f.name))
	}
	if _, suffix, is := companionOf(f.name); is {
		return nil, fmt.Errorf("file name %q: %s is reserved for companions", clip(f.name), suffix)
	}
	where, err := resolve(base, f.url)
	if err != nil {
		return nil, fmt.Errorf("URL of %s: %w", f.name, err)
	}
	ds, err := digests(f.hashes)
	if err != nil {
		return nil, fmt.Errorf("hashes of %s: %w", f.name, err)
	}
	at, from := f.uploaded()
	main := formats.Asset{File: f.name, URL: where.String(), Digests: ds, Uploaded: at, From: from, Raw: raw}
	if f.size > 0 {
		main.Size = f.size
	}
	if f.yanked {
		main.Flags |= formats.Yanked
	}
	out := []formats.Asset{main}
	beside := func(suffix string) formats.Asset {
		u := *where
		u.Path += suffix
		if u.RawPath != "" {
			u.RawPath += suffix
		}
		return formats.Asset{File: f.name + suffix, URL: u.String(), Uploaded: at, From: from}
	}
	if f.metadata {
		a := beside(metadataSuffix)
		if a.Digests, err = digests(f.metadataHashes); err != nil {
			return nil, fmt.Errorf("core metadata of %s: %w", f.name, err)
		}
		out = append(out, a)
	}
	if f.signature {
		out = append(out, beside(signatureSuffix))
	}
	if f.provenance != "" {
		u, err := resolve(base, f.provenance)
		if err != nil {
			return nil, fmt.Errorf("provenance of %s: %w", f.name, err)
		}
		out = append(out, formats.Asset{File: f.name + provenanceSuffix, URL: u.String(), Uploaded: at, From: from})
	}
	return out, nil
}

// maxURL bounds a URL in a document, in bytes.
const maxURL = 8 << 10

// resolve makes a reference absolute. Fragment and user information go: the
// one is a digest already read, the other would carry a credential that the
// metadata, not the operator, has chosen.
func resolve(base *url.URL, ref string) (*url.URL, error) {
	if len(ref) > maxURL {
		return nil, fmt.Errorf("longer than %d bytes", maxURL)
	}
	u, err := url.Parse(strings.TrimSpace(ref))
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("%q is not an http address", clip(ref))
	}
	u.Fragment, u.RawFragment, u.User = "", "", nil
	return u, nil
}
