package golang

import (
	"fmt"
	"io"

	"larder/formats"
)

// Available reports whether a version can be used from this node alone: go asks
// for all three files of a module it builds from. The .mod files of other
// versions, which the module graph needs, are served whether they are listed or
// not.
func (*Format) Available(v *formats.Version) (*formats.Version, bool) {
	for _, ext := range []string{".info", ".mod", ".zip"} {
		if _, ok := v.Held[v.V+ext]; !ok {
			return v, false
		}
	}
	return v, true
}

// Companions returns what belongs to an asset and should be fetched once it is
// held, so that the version can be used offline. A build with a complete go.sum
// asks for .mod and .zip only, and go takes version information from @latest
// where it can; a later client without either asks for the .info.
func (*Format) Companions(t formats.Target) []formats.Target {
	if t.Kind != formats.KindAsset || t.File != t.Version+".zip" {
		return nil
	}
	var out []formats.Target
	for _, ext := range []string{"info", "mod"} {
		out = append(out, fileTarget(t.Name, t.Version, ext))
	}
	return out
}

// Inspect keeps the text of an .info beside its row, from which @latest is
// answered offline.
func (*Format) Inspect(t formats.Target, f formats.File) ([]formats.Derived, []byte, error) {
	if t.File != t.Version+".info" {
		return nil, nil, nil
	}
	raw, _, err := readInfo(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return nil, nil, fmt.Errorf("inspect %s of %s: %w", t.File, t.Name.Canon, err)
	}
	if len(raw) > 64<<10 {
		return nil, nil, nil // far beyond any real one; not worth a place in the row
	}
	return nil, raw, nil
}
