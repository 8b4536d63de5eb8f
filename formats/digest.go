package formats

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Alg names a digest algorithm. The closed list is below; the names are those
// of subresource integrity and of package indexes.
type Alg string

// The algorithms larder can compute, and GoH1, which only the go format can
// (golang.org/x/mod/sumdb/dirhash.Hash1).
const (
	MD5    Alg = "md5"
	SHA1   Alg = "sha1"
	SHA256 Alg = "sha256"
	SHA512 Alg = "sha512"
	SHA384 Alg = "sha384"
	GoH1   Alg = "h1"
)

// New returns a fresh hash, or nil for an algorithm that does not run over the
// plain bytes of a file.
func (a Alg) New() hash.Hash {
	switch a {
	case MD5:
		return md5.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	return nil
}

// Strong reports whether the algorithm resists collisions, so that two files
// with one digest are the same file.
func (a Alg) Strong() bool {
	switch a {
	case SHA256, SHA384, SHA512, GoH1:
		return true
	}
	return false
}

// Digest is a checksum. Hex is lower case, except for GoH1, where it holds the
// base64 text that follows "h1:".
type Digest struct {
	Alg Alg    `cbor:"1,keyasint"`
	Hex string `cbor:"2,keyasint"`
}

// ParseDigest checks the length and alphabet of hexText and returns the digest
// in lower case.
func ParseDigest(alg Alg, hexText string) (Digest, error) {
	if alg == GoH1 {
		raw, err := base64.StdEncoding.DecodeString(hexText)
		if err != nil || len(raw) != sha256.Size {
			return Digest{}, fmt.Errorf("h1 digest %q: not base64 of 32 bytes", hexText)
		}
		return Digest{GoH1, hexText}, nil
	}
	h := alg.New()
	if h == nil {
		return Digest{}, fmt.Errorf("digest algorithm %q is not known", alg)
	}
	raw, err := hex.DecodeString(hexText)
	if err != nil || len(raw) != h.Size() {
		return Digest{}, fmt.Errorf("%s digest %q: want %d hex digits", alg, hexText, 2*h.Size())
	}
	return Digest{alg, strings.ToLower(hexText)}, nil
}

// ParseSRI parses a subresource integrity value (W3C SRI section 3.5): one or
// more "alg-base64" separated by space. Options after "?" and unknown
// algorithms are passed over; no known algorithm is an error.
func ParseSRI(s string) ([]Digest, error) {
	var out []Digest
	for _, part := range strings.Fields(s) {
		part, _, _ = strings.Cut(part, "?")
		alg, b64, ok := strings.Cut(part, "-")
		if !ok {
			continue
		}
		h := Alg(alg).New()
		if h == nil {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(b64)
		if err != nil || len(raw) != h.Size() {
			return nil, fmt.Errorf("integrity %q: bad %s value", s, alg)
		}
		out = append(out, Digest{Alg(alg), hex.EncodeToString(raw)})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("integrity %q: no known algorithm", s)
	}
	return out, nil
}

// SRI renders d as "alg-base64" (W3C SRI section 3.5).
func (d Digest) SRI() string {
	raw, err := hex.DecodeString(d.Hex)
	if err != nil {
		return ""
	}
	return string(d.Alg) + "-" + base64.StdEncoding.EncodeToString(raw)
}

func (d Digest) String() string { return string(d.Alg) + ":" + d.Hex }

// Find returns the digest with the given algorithm.
func Find(ds []Digest, alg Alg) (Digest, bool) {
	for _, d := range ds {
		if d.Alg == alg {
			return d, true
		}
	}
	return Digest{}, false
}

// Disagree reports a pair in which both lists name one algorithm with different
// values: that of SHA-256, which people compare with, or else the first. Lists
// without a common algorithm do not conflict.
func Disagree(a, b []Digest) (was, is Digest, conflict bool) {
	for _, x := range a {
		if y, ok := Find(b, x.Alg); ok && x.Hex != y.Hex && (!conflict || x.Alg == SHA256) {
			was, is, conflict = x, y, true
		}
	}
	return was, is, conflict
}
