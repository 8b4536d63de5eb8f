package npmtest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// member is one member of an ordered JSON object.
type member struct {
	key string
	val any
}

// ordered is a JSON object that keeps its order, since the public registry's
// documents do: times follow the versions they belong to.
type ordered []member

// MarshalJSON writes the members in order.
func (o ordered) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, encode(m.key)...), ':'), encode(m.val)...)
	}
	return append(b, '}'), nil
}

var _ json.Marshaler = ordered(nil)

// document is the packument. The caller holds the registry's lock.
func (p *pkg) document(base string, abbreviated bool) []byte {
	versions := make(ordered, 0, len(p.order))
	for _, v := range p.order {
		m := p.complete(p.versions[v], base)
		if abbreviated {
			m = abbreviate(m)
		}
		versions = append(versions, member{v, m})
	}
	tags := ordered{}
	for _, tag := range slices.Sorted(maps.Keys(p.tags)) {
		tags = append(tags, member{tag, p.tags[tag]})
	}
	if abbreviated {
		return encode(ordered{{"name", p.name}, {"dist-tags", tags}, {"versions", versions}, {"modified", stamp(p.modified)}})
	}
	return encode(append(append(ordered{
		{"_id", p.name}, {"_rev", "7-5f1d0c2a9be64f0d8a3c1e2b4d5f6071"}, {"name", p.name},
		{"dist-tags", tags}, {"versions", versions}, {"time", p.timeline()},
	}, p.hoisted()...), ordered{
		{"users", map[string]bool{"ada": true}},
		{"readme", "# " + p.name + "\n\nA package for tests. \"Quoted\", back\\slashed, <b>marked up</b> and \u00fcmlauted.\n"},
		{"readmeFilename", "README.md"},
	}...))
}

// timeline is the "time" member: created and modified first, then every version
// that ever was, in order of publication.
func (p *pkg) timeline() ordered {
	names := slices.SortedFunc(maps.Keys(p.times), func(a, b string) int {
		if c := p.times[a].Compare(p.times[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	out := ordered{{"created", stamp(p.times[names[0]])}, {"modified", stamp(p.modified)}}
	for _, v := range names {
		out = append(out, member{v, stamp(p.times[v])})
	}
	return out
}

// hoisted are the members that the registry copies up from the latest version.
func (p *pkg) hoisted() ordered {
	return ordered{
		{"bugs", map[string]string{"url": "https://code.example/" + p.name + "/issues"}},
		{"author", map[string]string{"name": "Ada Example"}},
		{"license", "MIT"},
		{"homepage", "https://code.example/" + p.name + "#readme"},
		{"keywords", []string{"tiny", "test"}},
		{"repository", map[string]string{"type": "git", "url": "git+https://code.example/" + p.name + ".git"}},
		{"description", "Test package " + p.name},
		{"maintainers", []map[string]string{{"name": "ada", "email": "ada@example.org"}}},
	}
}

// complete returns a manifest with the URLs that depend on the client.
func (p *pkg) complete(rel *release, base string) map[string]any {
	m := maps.Clone(rel.manifest)
	dist := maps.Clone(m["dist"].(map[string]any))
	if p.scattered {
		dist["tarball"] = base + "/blobs/" + blobPath(rel)
	} else {
		dist["tarball"] = base + "/" + p.name + "/-/" + tarballFile(p.name, rel.Version)
	}
	if rel.Attested {
		dist["attestations"] = ordered{
			{"url", base + "/-/npm/v1/attestations/" + strings.Replace(p.name, "/", "%2f", 1) + "@" + rel.Version},
			{"provenance", map[string]string{"predicateType": provenanceType}},
		}
	}
	m["dist"] = dist
	if rel.Deprecated != "" {
		m["deprecated"] = rel.Deprecated
	}
	return m
}

// abbreviate keeps what the abbreviated form has.
func abbreviate(m map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range []string{
		"name", "version", "deprecated", "dist", "bin", "directories", "engines", "cpu", "os", "libc", "funding",
		"dependencies", "optionalDependencies", "devDependencies", "bundleDependencies",
		"peerDependencies", "peerDependenciesMeta", "_hasShrinkwrap",
	} {
		if v, ok := m[key]; ok {
			out[key] = v
		}
	}
	if scripts, ok := m["scripts"].(map[string]string); ok {
		if scripts["preinstall"]+scripts["install"]+scripts["postinstall"] != "" {
			out["hasInstallScript"] = true
		}
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
