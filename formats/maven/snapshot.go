package maven

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"larder/formats"
)

// composeSnapshot makes the document of one snapshot version. Where it was
// published here its row has the document. Otherwise, online, it is that
// of the first upstream that has the version, which is also the one its files
// come from: builds of two upstreams are never mixed. Offline it is made from
// the files held, since upstream's newest build may not be among them.
func composeSnapshot(v *formats.View, t formats.Target, heads []*metadata) (*document, error) {
	for _, h := range v.Hidden {
		if h.Version != nil && h.Version.V == t.Doc {
			return nil, formats.Refuse(formats.Blocked, "%s %s is blocked here: %s", v.Name.Show(), t.Doc, h.Reason)
		}
	}
	for _, row := range v.Versions {
		if row.V == t.Doc && len(row.Raw) > 0 {
			return composeHosted(v, t, row)
		}
	}
	if v.Offline {
		return composeHeldSnapshot(v, t, heads)
	}
	if len(heads) == 0 {
		return nil, formats.Refuse(formats.NotFound, "%s %s is not known here", v.Name.Show(), t.Doc)
	}
	d := &document{m: *heads[0]}
	d.identify(v, t)
	return d, nil
}

func composeHosted(v *formats.View, t formats.Target, row *formats.Version) (*document, error) {
	m, err := scan(bytes.NewReader(row.Raw), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read kept builds of %s %s: %w", v.Name.Show(), t.Doc, err)
	}
	d := &document{m: *m}
	d.identify(v, t)
	return d, nil
}

func (d *document) identify(v *formats.View, t formats.Target) {
	d.m.group, d.m.artifact = coordinates(v.Name)
	d.m.version, d.m.versioned = t.Doc, true
}

// kind is what a client asks for within a snapshot version.
type kind struct{ classifier, extension string }

// composeHeldSnapshot names, per classifier and extension, the newest build of
// which a file is held.
func composeHeldSnapshot(v *formats.View, t formats.Target, heads []*metadata) (*document, error) {
	at := heldBuilds(v, t, heads)
	if len(at) == 0 {
		return nil, formats.Refuse(formats.NotHeld, "no build of %s %s is held here, and this repository is offline", v.Name.Show(), t.Doc)
	}
	d := &document{m: newestBuilds(at)}
	d.identify(v, t)
	return d, nil
}

// newestBuilds is the snapshot part of the document that names, per classifier
// and extension, the newest of the builds to which the files belong. The build
// named first of all is the newest that has a POM, which clients ask for first.
func newestBuilds(files map[string]build) metadata {
	m := metadata{model: "1.1.0", versioned: true}
	var newest, newestPOM build
	at := map[kind]build{}
	for file, b := range files {
		k := kind{b.classifier, b.extension}
		if old, ok := at[k]; !ok || b.newer(old) {
			at[k] = b
		}
		if b.newer(newest) {
			newest = b
		}
		if strings.HasSuffix(file, ".pom") && b.newer(newestPOM) {
			newestPOM = b
		}
	}
	if newestPOM.timestamped() {
		newest = newestPOM
	}
	m.snap = &snapshotInfo{timestamp: newest.timestamp, number: newest.number}
	for _, k := range slices.SortedFunc(maps.Keys(at), kind.compare) {
		b := at[k]
		updated := strings.ReplaceAll(b.timestamp, ".", "")
		m.updated = max(m.updated, updated)
		m.builds = append(m.builds, snapshotVersion{k.classifier, k.extension, b.value, updated})
	}
	return m
}

func (a kind) compare(b kind) int {
	if c := strings.Compare(a.classifier, b.classifier); c != 0 {
		return c
	}
	return strings.Compare(a.extension, b.extension)
}

// heldBuilds maps held file names of the version's builds to what they are.
func heldBuilds(v *formats.View, t formats.Target, heads []*metadata) map[string]build {
	held := map[string]build{}
	_, artifact := coordinates(v.Name)
	for _, row := range v.Versions {
		if directory(row.V) == t.Doc {
			addBuilds(held, artifact, t.Doc, row)
		}
	}
	for _, m := range heads {
		m.explain(held, artifact)
	}
	return held
}

// addBuilds adds the timestamped files of a row.
func addBuilds(to map[string]build, artifact, version string, row *formats.Version) {
	for file := range row.Held {
		if b, ok := parseSnapshotFile(artifact, version, file); ok && b.timestamped() {
			to[file] = b
		}
	}
}

// explain corrects, for files that the document names, where a classifier ends
// and an extension begins: file names alone do not always tell.
func (m *metadata) explain(files map[string]build, artifact string) {
	for _, sv := range m.builds {
		b := build{value: sv.value, classifier: sv.classifier, extension: sv.extension}
		if f, ok := files[b.file(artifact)]; ok {
			b.timestamp, b.number = f.timestamp, f.number
			files[b.file(artifact)] = b
		}
	}
}
