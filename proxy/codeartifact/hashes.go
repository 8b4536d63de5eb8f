package codeartifact

import (
	"encoding/hex"
	"hash"
	"io"
	"maps"
	"sync"

	"larder/formats"
)

// maxHashed bounds the files that are hashed only to be described, in bytes;
// a longer one is described by the digests that were computed when it came in.
const maxHashed = 64 << 20

// maxRemembered bounds how many files' digests are remembered, about 400 bytes
// each.
const maxRemembered = 4096

// hashes remembers digests that had to be computed: a file that came from
// outside was hashed by what its registry uses, and CodeArtifact shows four. The
// SHA-256 is the key, so an entry can never be wrong.
type hashes struct {
	mu   sync.Mutex
	seen map[string]map[string]string
}

// hashName is CodeArtifact's name of an algorithm (API reference, "AssetSummary").
func hashName(a formats.Alg) string {
	switch a {
	case formats.MD5:
		return "MD5"
	case formats.SHA1:
		return "SHA-1"
	case formats.SHA256:
		return "SHA-256"
	case formats.SHA512:
		return "SHA-512"
	}
	return ""
}

func (h *hashes) get(sum string) (map[string]string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.seen[sum]
	return m, ok
}

func (h *hashes) put(sum string, m map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil || len(h.seen) >= maxRemembered {
		h.seen = map[string]map[string]string{}
	}
	h.seen[sum] = m
}

// hashesOf are the digests of an asset under CodeArtifact's names.
func (c *call) hashesOf(s *subject, v *formats.Version, a asset) map[string]string {
	out := map[string]string{}
	for _, d := range a.held.Digests {
		if name := hashName(d.Alg); name != "" {
			out[name] = d.Hex
		}
	}
	sum := out["SHA-256"]
	if len(out) == 4 || !a.here || sum == "" {
		return out
	}
	if known, ok := c.h.hashes.get(sum); ok {
		return maps.Clone(known)
	}
	if a.held.Size > maxHashed {
		return out
	}
	all, err := c.hash(s, v, a)
	switch {
	case err != nil:
		c.h.log.Warn("asset cannot be hashed", "package", s.name.Canon, "version", v.V, "asset", a.name, "err", err)
		return out
	case all["SHA-256"] != sum:
		c.h.log.Error("asset has other bytes than its row says", "package", s.name.Canon, "version", v.V, "asset", a.name)
		return out
	}
	c.h.hashes.put(sum, all)
	return maps.Clone(all)
}

// hash reads an asset once and computes all four digests.
func (c *call) hash(s *subject, v *formats.Version, a asset) (map[string]string, error) {
	f, err := c.h.backend.OpenAsset(c.r.Context(), s.domain.Name, s.repo.Name, s.format, s.name, s.files, a.held.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sums := map[string]hash.Hash{}
	var all []io.Writer
	for _, alg := range []formats.Alg{formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512} {
		h := alg.New()
		sums[hashName(alg)] = h
		all = append(all, h)
	}
	if _, err := io.Copy(io.MultiWriter(all...), io.NewSectionReader(f, 0, f.Size())); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, h := range sums {
		out[name] = hex.EncodeToString(h.Sum(nil))
	}
	return out, nil
}
