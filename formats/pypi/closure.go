package pypi

import (
	"slices"
	"strings"

	"larder/formats"
)

// Available restricts v to what is held, file by file: one held file of a
// version is enough to install it where it fits. A held wheel needs nothing
// beside it, since a client that sees no core metadata advertised reads the
// wheel. A version that no listing ever named is made up from its held files.
func (f *Format) Available(v *formats.Version) (*formats.Version, bool) {
	out := *v
	out.Assets = nil
	if len(v.Assets) == 0 {
		out.Assets = heldAssets(v)
	} else {
		for _, a := range v.Assets {
			if _, ok := v.Held[a.File]; !ok {
				continue
			}
			if dist, _, companion := companionOf(a.File); companion {
				if _, ok := v.Held[dist]; !ok {
					continue
				}
			}
			out.Assets = append(out.Assets, a)
		}
	}
	files, yanked := 0, 0
	for _, a := range out.Assets {
		if _, _, companion := companionOf(a.File); companion {
			continue
		}
		files++
		if a.Flags&formats.Yanked != 0 {
			yanked++
		}
	}
	out.Flags &^= formats.Yanked
	if files > 0 && yanked == files {
		out.Flags |= formats.Yanked
	}
	return &out, files > 0
}

func heldAssets(v *formats.Version) []formats.Asset {
	var out []formats.Asset
	for name, h := range v.Held {
		dist, _, companion := companionOf(name)
		if companion {
			if _, ok := v.Held[dist]; !ok {
				continue
			}
		}
		out = append(out, formats.Asset{File: name, URL: h.URL, Size: h.Size, Digests: h.Digests})
	}
	slices.SortFunc(out, func(a, b formats.Asset) int { return strings.Compare(a.File, b.File) })
	return out
}
