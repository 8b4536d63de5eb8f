package npm

import (
	"time"

	"larder/formats"
)

// mergeHeads makes one head of what the layers of a view say of the package.
// One layer alone is passed on as it is. Of several, the package-level members
// are those of the first layer that has any; versions that were taken back are
// all told; "created" is the earliest and "modified" the latest, since pnpm
// takes a package for older than its age gate when "modified" is.
func mergeHeads(layers []formats.Layer) *formats.Head {
	var said []*formats.Head
	for _, l := range layers {
		if len(l.Head.Raw) > 0 || len(l.Head.Aux) > 0 || !l.Head.Modified.IsZero() {
			said = append(said, l.Head)
		}
	}
	switch len(said) {
	case 0:
		return layers[0].Head
	case 1:
		return said[0]
	}
	out := &formats.Head{}
	var created, modified time.Time
	rest := []byte{'{'}
	// "unpublished" says that one place took the whole package back; another
	// still has it.
	seen := map[string]bool{"created": true, "modified": true, "unpublished": true}
	for _, h := range said {
		if len(out.Raw) == 0 && !bare(h.Raw) {
			out.Raw = h.Raw
		}
		if at := parseTime(unquote(find(h.Aux, "created"))); !at.IsZero() && (created.IsZero() || at.Before(created)) {
			created = at
		}
		at := parseTime(unquote(find(h.Aux, "modified")))
		if at.IsZero() {
			at = h.Modified
		}
		if at.After(modified) {
			modified = at
		}
		var m member
		for o, ok := openObject(h.Aux); ok && o.next(&m); {
			if key := string(m.key); !seen[key] {
				seen[key] = true
				rest = append(append(rest, ','), h.Aux[m.start:m.till]...)
			}
		}
	}
	out.Modified = modified
	out.Aux = append(mergedTimes(created, modified), rest[1:]...)
	if len(out.Aux) > 1 && out.Aux[1] == ',' {
		out.Aux = append([]byte{'{'}, out.Aux[2:]...)
	}
	out.Aux = append(out.Aux, '}')
	return out
}

// mergedTimes begins an object of times.
func mergedTimes(created, modified time.Time) []byte {
	out := []byte{'{'}
	if !created.IsZero() {
		out = append(out, `"created":"`+stamp(created)+`"`...)
	}
	if !modified.IsZero() {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, `"modified":"`+stamp(modified)+`"`...)
	}
	return out
}

// bare reports whether a head has no members at all.
func bare(raw []byte) bool {
	var m member
	o, ok := openObject(raw)
	return !ok || !o.next(&m)
}
