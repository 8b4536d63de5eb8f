package generic

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"larder/formats"
)

// promisedDigests are the digests that a request says its file has, of every
// header that may say so. A header that cannot be understood is refused: who
// sends one wants it checked.
func promisedDigests(h http.Header) ([]formats.Digest, error) {
	var out []formats.Digest
	add := func(header string, alg formats.Alg, raw []byte, ok bool) error {
		d, err := formats.ParseDigest(alg, hex.EncodeToString(raw))
		if !ok || err != nil {
			return formats.Refuse(formats.BadRequest, "%s is not a %s digest in the form that its definition asks for", header, alg)
		}
		out = append(out, d)
		return nil
	}
	for _, value := range h.Values("X-Amz-Content-Sha256") {
		switch value = strings.TrimSpace(value); {
		case value == "UNSIGNED-PAYLOAD":
		case strings.HasPrefix(value, "STREAMING-"):
			return nil, formats.Refuse(formats.NotSupported, "bodies signed in chunks are not read here; sign the whole file")
		default:
			raw, err := hex.DecodeString(value)
			if err := add("x-amz-content-sha256", formats.SHA256, raw, err == nil); err != nil {
				return nil, err
			}
		}
	}
	for _, value := range h.Values("Content-Md5") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err := add("Content-MD5", formats.MD5, raw, err == nil); err != nil {
			return nil, err
		}
	}
	for _, header := range []string{"Content-Digest", "Repr-Digest"} {
		members, ok := dictionary(strings.Join(h.Values(header), ","))
		if !ok {
			return nil, formats.Refuse(formats.BadRequest, "%s is not a list such as sha-256=:BASE64:", header)
		}
		for _, m := range members {
			alg, known := algOf(m.key)
			if !known {
				continue // a receiver may pass over algorithms (RFC 9530, section 2)
			}
			if err := add(header, alg, m.value, true); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// algOf maps the hash algorithms of RFC 9530 (section 5).
func algOf(key string) (formats.Alg, bool) {
	switch key {
	case "sha-256":
		return formats.SHA256, true
	case "sha-512":
		return formats.SHA512, true
	case "sha":
		return formats.SHA1, true
	case "md5":
		return formats.MD5, true
	}
	return "", false
}

// member is one member of a dictionary of byte sequences.
type member struct {
	key   string
	value []byte
}

// dictionary reads a dictionary whose values are byte sequences without
// parameters (RFC 9651, sections 3.2 and 3.3.5), which is all that digests need.
// An empty field is an empty dictionary.
func dictionary(field string) (members []member, ok bool) {
	for part := range strings.SplitSeq(field, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		key, value, found := strings.Cut(part, "=")
		encoded, opened := strings.CutPrefix(value, ":")
		encoded, closed := strings.CutSuffix(encoded, ":")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if !found || !opened || !closed || err != nil || key == "" || strings.ToLower(key) != key {
			return nil, false
		}
		members = append(members, member{key, raw})
	}
	return members, true
}

// keepPromise compares what was announced with what arrived.
func keepPromise(promised, arrived []formats.Digest) error {
	for _, d := range promised {
		if is, ok := formats.Find(arrived, d.Alg); !ok || is.Hex != d.Hex {
			return formats.Refuse(formats.BadRequest, "the file that arrived has the digest %s, not %s as announced", is, d)
		}
	}
	return nil
}
