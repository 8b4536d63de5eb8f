package npm

import (
	"archive/tar"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"larder/formats"
)

// Bounds of a description: what is read of a tarball to find its readme, and
// how many dependencies are told.
const (
	maxReadmeScan   = 64 << 20
	maxDependencies = 10_000
)

// Describe reads a version's manifest, and its tarball for the readme.
func (f *Format) Describe(n formats.Name, v *formats.Version, open func(file string) (formats.OpenFile, error)) (*formats.Facts, error) {
	facts := &formats.Facts{
		DisplayName:  n.Show(),
		Summary:      text(find(v.Raw, "description")),
		HomePage:     text(find(v.Raw, "homepage")),
		SourceCode:   repository(find(v.Raw, "repository")),
		Licenses:     licenses(v.Raw),
		Dependencies: dependencies(v.Raw),
		Readme:       text(find(v.Raw, "readme")),
	}
	file := tarballFile(n.Canon, v.V)
	if len(v.Assets) > 0 {
		file = v.Assets[0].File
	}
	if _, held := v.Held[file]; !held {
		return facts, nil
	}
	tarball, err := open(file)
	if err != nil {
		return nil, err
	}
	defer tarball.Close()
	if readme := findReadme(tarball, text(find(v.Raw, "readmeFilename"))); readme != "" {
		facts.Readme = readme
	}
	return facts, nil
}

// repository is the address in a manifest's "repository", which is a string or
// an object with "url".
func repository(val []byte) string {
	u := text(val)
	if u == "" {
		u = text(find(val, "url"))
	}
	return strings.TrimPrefix(u, "git+")
}

// licenses reads "license" (a string, or an object of old) and "licenses".
func licenses(raw []byte) (out []formats.License) {
	add := func(val []byte) {
		name := text(val)
		if name == "" {
			name = text(find(val, "type"))
		}
		if l := (formats.License{Name: name, URL: text(find(val, "url"))}); l.Name+l.URL != "" && len(out) < 100 {
			out = append(out, l)
		}
	}
	add(find(raw, "license"))
	if list := find(raw, "licenses"); len(out) == 0 && len(list) > 0 && list[0] == '[' {
		for i := space(list, 1); i < len(list) && list[i] != ']'; {
			end := skipValue(list, i)
			add(list[i:end])
			if i = space(list, end); i < len(list) && list[i] == ',' {
				i = space(list, i+1)
			}
		}
	}
	return out
}

// dependencies lists them under CodeArtifact's words for npm. An optional one
// may stand among the regular ones too and is told once.
func dependencies(raw []byte) (out []formats.Dependency) {
	optional := map[string]bool{}
	var m member
	for o, ok := openObject(find(raw, "optionalDependencies")); ok && o.next(&m); {
		optional[string(m.key)] = true
	}
	for _, kind := range [...]struct{ key, word string }{
		{"dependencies", "regular"}, {"devDependencies", "dev"}, {"peerDependencies", "peer"}, {"optionalDependencies", "optional"},
	} {
		for o, ok := openObject(find(raw, kind.key)); ok && o.next(&m) && len(out) < maxDependencies; {
			n, ok := parseName(string(m.key))
			if !ok || kind.word == "regular" && optional[string(m.key)] {
				continue
			}
			out = append(out, formats.Dependency{Namespace: n.NS, Package: baseName(n.Canon), Type: kind.word, Requirement: text(o.b[m.from:m.till])})
		}
	}
	return out
}

// findReadme looks for the readme at the top of a package: the one that the
// manifest names, else README.md, else any README. A damaged or endless tarball
// has none.
func findReadme(f formats.File, named string) string {
	u, err := newUnpack(f)
	if err != nil {
		return ""
	}
	best, rank := "", 0
	for tr := tar.NewReader(io.LimitReader(u, maxReadmeScan)); rank < 3; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		_, name, ok := strings.Cut(h.Name, "/")
		if !ok || h.Typeflag != tar.TypeReg || strings.Contains(name, "/") {
			continue
		}
		r := readmeRank(name, named)
		if r <= rank {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(tr, maxReadme+1))
		if err == nil && len(b) <= maxReadme && utf8.Valid(b) {
			best, rank = string(b), r
		}
	}
	return best
}

func readmeRank(name, named string) int {
	switch lower := strings.ToLower(name); {
	case named != "" && name == named:
		return 3
	case lower == "readme.md" || lower == "readme.markdown":
		return 2
	case strings.TrimSuffix(lower, path.Ext(lower)) == "readme":
		return 1
	}
	return 0
}
