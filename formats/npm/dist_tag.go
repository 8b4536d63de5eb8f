package npm

import (
	"slices"

	"deps.dev/util/semver"

	"larder/formats"
)

// mendTags returns the tags of a view. On the same tag the last layer, the
// furthest upstream, has the word, unless the repository's own tags shall win. A
// tag whose version is not in the view is dropped, but for "latest": every
// client installs by it, and npm fails on a dangling one even where a range
// would resolve.
func mendTags(v *formats.View) map[string]string {
	have := make(map[string]bool, len(v.Versions))
	for _, row := range v.Versions {
		if len(row.Raw) > 0 {
			have[row.V] = true
		}
	}
	tags := make(map[string]string)
	for _, l := range v.Layers {
		for tag, version := range l.Head.Tags {
			if _, ok := tags[tag]; !ok || !v.LocalTags {
				tags[tag] = version
			}
		}
	}
	for tag, version := range tags {
		if have[version] {
			continue
		}
		delete(tags, tag)
		if tag == "latest" {
			if best := latest(v.Versions, version); best != "" {
				tags[tag] = best
			}
		}
	}
	return tags
}

// latest picks what "latest" shall mean when the version it named is gone: the
// highest stable one not above it (npm's own rule for a tag it may not follow),
// else the highest stable one, else the same among prereleases.
func latest(vs []*formats.Version, was string) string {
	limit, err := semver.NPM.Parse(was)
	if err != nil {
		limit = nil
	}
	type rank struct {
		stable, within bool
	}
	best := make(map[rank]*semver.Version)
	name := make(map[rank]string)
	for _, row := range vs {
		if len(row.Raw) == 0 {
			continue
		}
		sv, err := semver.NPM.Parse(row.V)
		if err != nil {
			continue
		}
		r := rank{!sv.IsPrerelease(), limit == nil || sv.Compare(limit) <= 0}
		if b := best[r]; b == nil || sv.Compare(b) > 0 {
			best[r], name[r] = sv, row.V
		}
	}
	for _, r := range []rank{{true, true}, {true, false}, {false, true}, {false, false}} {
		if name[r] != "" {
			return name[r]
		}
	}
	return ""
}

// tags writes a dist-tags object, "latest" first, then by name.
func (o *output) tags(tags map[string]string) {
	names := make([]string, 0, len(tags))
	for tag := range tags {
		if tag != "latest" {
			names = append(names, tag)
		}
	}
	slices.Sort(names)
	if _, ok := tags["latest"]; ok {
		names = slices.Insert(names, 0, "latest")
	}
	o.str("{")
	for i, tag := range names {
		if i > 0 {
			o.str(",")
		}
		o.quoted(tag)
		o.str(":")
		o.quoted(tags[tag])
	}
	o.str("}")
}
