package maven

import (
	"maps"
	"slices"
	"strings"

	"larder/formats"
)

// composeSnapshot makes the document of one snapshot version. Online it is that
// of the first upstream that has the version, which is also the one its files
// come from: builds of two upstreams are never mixed. Offline it is made from
// the files held, since upstream's newest build may not be among them.
func composeSnapshot(v *formats.View, t formats.Target, heads []*metadata) (*document, error) {
	for _, h := range v.Hidden {
		if h.Version != nil && h.Version.V == t.Doc {
			return nil, formats.Refuse(formats.Blocked, "%s %s is blocked here: %s", v.Name.Show(), t.Doc, h.Reason)
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

func (d *document) identify(v *formats.View, t formats.Target) {
	d.m.group, d.m.artifact = coordinates(v.Name)
	d.m.version, d.m.versioned = t.Doc, true
}

// kind is what a client asks for within a snapshot version.
type kind struct{ classifier, extension string }

// composeHeldSnapshot names, per classifier and extension, the newest build of
// which a file is held.
func composeHeldSnapshot(v *formats.View, t formats.Target, heads []*metadata) (*document, error) {
	d := &document{}
	var newest, newestPOM build
	at := map[kind]build{}
	for file, b := range heldBuilds(v, t, heads) {
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
	if len(at) == 0 {
		return nil, formats.Refuse(formats.NotHeld, "no build of %s %s is held here, and this repository is offline", v.Name.Show(), t.Doc)
	}
	if newestPOM.timestamped() {
		newest = newestPOM
	}
	d.m.model = "1.1.0"
	d.m.snap = &snapshotInfo{timestamp: newest.timestamp, number: newest.number}
	for _, k := range slices.SortedFunc(maps.Keys(at), kind.compare) {
		b := at[k]
		updated := strings.ReplaceAll(b.timestamp, ".", "")
		d.m.updated = max(d.m.updated, updated)
		d.m.builds = append(d.m.builds, snapshotVersion{k.classifier, k.extension, b.value, updated})
	}
	d.identify(v, t)
	return d, nil
}

func (a kind) compare(b kind) int {
	if c := strings.Compare(a.classifier, b.classifier); c != 0 {
		return c
	}
	return strings.Compare(a.extension, b.extension)
}

// heldBuilds maps held file names of the version to what they are. The
// upstream's own entries say where a classifier ends and an extension begins;
// without them the file name is taken apart.
func heldBuilds(v *formats.View, t formats.Target, heads []*metadata) map[string]build {
	_, artifact := coordinates(v.Name)
	held := map[string]build{}
	for _, row := range v.Versions {
		if row.V != t.Doc {
			continue
		}
		for file := range row.Held {
			if b, ok := parseSnapshotFile(artifact, t.Doc, file); ok && b.timestamped() {
				held[file] = b
			}
		}
	}
	for _, m := range heads {
		for _, sv := range m.builds {
			b := build{value: sv.value, classifier: sv.classifier, extension: sv.extension}
			if h, ok := held[b.file(artifact)]; ok {
				b.timestamp, b.number = h.timestamp, h.number
				held[b.file(artifact)] = b
			}
		}
	}
	return held
}
