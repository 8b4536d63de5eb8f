package maven

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"encoding/hex"
	"fmt"

	"larder/formats"
)

// errNoChecksum says that a checksum file is empty, which stands in old
// repositories for "none".
var errNoChecksum = errors.New("checksum file is empty")

// parseChecksum reads a checksum file of the given algorithm for file. It
// accepts what has been seen in repositories: the bare digits, "digits  file"
// and "digits *file" (coreutils), "SHA1 (file) = digits" and "SHA1(file)= digits"
// (BSD, OpenSSL), "file: DIGI TS.." over several lines (gpg --print-md), in any
// case. Anything else, an HTML page first of all, is an error.
func parseChecksum(alg formats.Alg, body []byte, file string) (formats.Digest, error) {
	const limit = 16 << 10
	if len(body) > limit {
		return formats.Digest{}, fmt.Errorf("checksum file has %d bytes", len(body))
	}
	text := strings.TrimSpace(string(bytes.TrimPrefix(body, []byte("\ufeff"))))
	if text == "" {
		return formats.Digest{}, errNoChecksum
	}
	var other formats.Digest
	lines := strings.Split(text, "\n")
	for _, line := range lines {
		d, ok := checksumLine(alg, line)
		if !ok {
			continue
		}
		if len(lines) == 1 || strings.Contains(line, file) {
			return d, nil
		}
		if other.Hex == "" {
			other = d
		}
	}
	if other.Hex != "" {
		return other, nil
	}
	if d, ok := printMD(alg, text); ok {
		return d, nil
	}
	return formats.Digest{}, fmt.Errorf("not a %s checksum file: begins %.40q", alg, text)
}

func checksumLine(alg formats.Alg, line string) (formats.Digest, bool) {
	if i := strings.LastIndexByte(line, '='); i >= 0 {
		if d, err := formats.ParseDigest(alg, strings.TrimSpace(line[i+1:])); err == nil {
			return d, true
		}
	}
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return formats.Digest{}, false
	}
	for _, f := range []string{fields[0], fields[len(fields)-1]} {
		if d, err := formats.ParseDigest(alg, f); err == nil {
			return d, true
		}
	}
	return formats.Digest{}, false
}

// printMD reads "file: 0123 4567 ...", digits in groups.
func printMD(alg formats.Alg, text string) (formats.Digest, bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return formats.Digest{}, false
	}
	d, err := formats.ParseDigest(alg, strings.Join(strings.Fields(text[i+1:]), ""))
	return d, err == nil
}

// headerDigests reads the digests that repository managers put into response
// headers: X-Checksum-*, the same as object metadata of two clouds, and the ETag
// form {SHA1{...}} (maven-resolver XChecksumExtractor, Nexus2ChecksumExtractor).
// A malformed value is no digest.
func headerDigests(h http.Header) []formats.Digest {
	var out []formats.Digest
	for _, alg := range []formats.Alg{formats.SHA512, formats.SHA256, formats.SHA1, formats.MD5} {
		for _, prefix := range []string{"X-Checksum-", "X-Goog-Meta-Checksum-", "X-Amz-Meta-Checksum-"} {
			if d, err := formats.ParseDigest(alg, strings.TrimSpace(h.Get(prefix+string(alg)))); err == nil {
				out = append(out, d)
				break
			}
		}
	}
	if _, ok := formats.Find(out, formats.SHA1); !ok {
		tag := strings.Trim(h.Get("Etag"), `"`)
		if v, ok := strings.CutPrefix(tag, "{SHA1{"); ok {
			if d, err := formats.ParseDigest(formats.SHA1, strings.TrimSuffix(v, "}}")); err == nil {
				out = append(out, d)
			}
		}
	}
	return out
}

// Derive answers a checksum file from the asset it belongs to.
func (f *Format) Derive(t formats.Target, of formats.HeldAsset, file formats.File) (*formats.Reply, error) {
	alg := formats.Alg(t.Variant)
	d, ok := of.Digest(alg)
	if !ok {
		h := alg.New()
		if h == nil {
			return nil, formats.Refuse(formats.NotFound, "checksum files of kind %q are not known", t.Variant)
		}
		if _, err := io.Copy(h, io.NewSectionReader(file, 0, file.Size())); err != nil {
			return nil, fmt.Errorf("compute %s of %s: %w", alg, of.File, err)
		}
		d = formats.Digest{Alg: alg, Hex: hex.EncodeToString(h.Sum(nil))}
	}
	h := http.Header{"Content-Type": {checksumType}}
	if !of.LastModified.IsZero() {
		h.Set("Last-Modified", of.LastModified.UTC().Format(http.TimeFormat))
	}
	return &formats.Reply{Status: http.StatusOK, Header: h, Body: []byte(d.Hex)}, nil
}

// AssetHeader sends the digests with the file, which saves newer clients the
// request for the checksum file, and the upstream's own time, which is the only
// publish time Maven repositories have.
func (f *Format) AssetHeader(_ formats.Target, of formats.HeldAsset) http.Header {
	h := http.Header{}
	for _, d := range of.Digests {
		switch d.Alg {
		case formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512:
			h.Set("X-Checksum-"+string(d.Alg), d.Hex)
		}
	}
	if !of.LastModified.IsZero() {
		h.Set("Last-Modified", of.LastModified.UTC().Format(http.TimeFormat))
	}
	return h
}
