package generic

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"larder/formats"
)

// errNoUpstream is returned by Parse: this format has no Upstreamer.
var errNoUpstream = errors.New("generic packages come from no upstream")

// Parse refuses: there is no registry of generic packages to read.
func (*Format) Parse(formats.Target, formats.Source, io.Reader, func(*formats.Version) error) (*formats.Head, error) {
	return nil, errNoUpstream
}

// packageJSON is the list of a package's versions.
type packageJSON struct {
	Format    string        `json:"format"`
	Namespace string        `json:"namespace"`
	Package   string        `json:"package"`
	Versions  []versionJSON `json:"versions"`
}

// versionJSON is one version, in the words of CodeArtifact's API.
type versionJSON struct {
	Format        string      `json:"format,omitempty"`
	Namespace     string      `json:"namespace,omitempty"`
	Package       string      `json:"package,omitempty"`
	Version       string      `json:"version"`
	PublishedTime string      `json:"publishedTime,omitempty"`
	Assets        []assetJSON `json:"assets"`
}

// assetJSON is one asset (CodeArtifact API reference, "AssetSummary").
type assetJSON struct {
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	ContentType string            `json:"contentType,omitempty"`
	Hashes      map[string]string `json:"hashes"`
	URL         string            `json:"url,omitempty"`
}

// hashes are digests under the names of CodeArtifact's API.
func hashes(digests []formats.Digest) map[string]string {
	out := make(map[string]string, len(digests))
	for _, d := range digests {
		switch d.Alg {
		case formats.MD5:
			out["MD5"] = d.Hex
		case formats.SHA1:
			out["SHA-1"] = d.Hex
		case formats.SHA256:
			out["SHA-256"] = d.Hex
		case formats.SHA512:
			out["SHA-512"] = d.Hex
		}
	}
	return out
}

// Render writes the versions of a package in the order of the view, or the
// assets of one version.
func (*Format) Render(w io.Writer, v *formats.View, t formats.Target) (http.Header, error) {
	if len(v.Versions) == 0 {
		return nil, nothing(v)
	}
	namespace, pkg := split(v.Name)
	var doc any
	if t.Variant == variantAssets {
		i := slices.IndexFunc(v.Versions, func(row *formats.Version) bool { return row.V == t.Version })
		if i < 0 {
			return nil, noVersion(v, t.Version)
		}
		one := versionOf(v, v.Versions[i])
		one.Format, one.Namespace, one.Package = "generic", namespace, pkg
		doc = one
	} else {
		list := packageJSON{Format: "generic", Namespace: namespace, Package: pkg}
		for _, row := range v.Versions {
			list.Versions = append(list.Versions, versionOf(v, row))
		}
		doc = list
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("write list of %s: %w", v.Name.Canon, err)
	}
	return http.Header{"Content-Type": {typeJSON}}, nil
}

func versionOf(v *formats.View, row *formats.Version) versionJSON {
	out := versionJSON{Version: row.V, Assets: []assetJSON{}}
	if !row.Published.IsZero() {
		out.PublishedTime = row.Published.UTC().Format(time.RFC3339)
	}
	namespace, pkg := split(v.Name)
	folder := v.Base + "/" + url.PathEscape(namespace) + "/" + url.PathEscape(pkg) + "/" + url.PathEscape(row.V) + "/"
	for _, a := range row.Assets {
		asset := assetJSON{Name: a.File, Size: a.Size, Hashes: hashes(a.Digests), URL: folder + url.PathEscape(a.File)}
		if held, ok := row.Held[a.File]; ok {
			asset.ContentType = held.ContentType
		}
		out.Assets = append(out.Assets, asset)
	}
	slices.SortFunc(out.Assets, func(a, b assetJSON) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func nothing(v *formats.View) *formats.Refusal {
	if len(v.Hidden) > 0 {
		return formats.Refuse(formats.Blocked, "every version of %s is blocked here: %s", v.Name.Canon, v.Hidden[0].Reason)
	}
	return formats.Refuse(formats.NotFound, "package %s does not exist here", v.Name.Canon)
}

func noVersion(v *formats.View, version string) *formats.Refusal {
	for _, h := range v.Hidden {
		if h.Version.V == version {
			return formats.Refuse(formats.Blocked, "%s %s is blocked here: %s", v.Name.Canon, version, h.Reason)
		}
	}
	return formats.Refuse(formats.NotFound, "%s has no version %s", v.Name.Canon, version)
}

// AssetHeader keeps browsers from doing anything with a file but saving it:
// whoever may publish could otherwise run scripts under this site's name.
func (*Format) AssetHeader(t formats.Target, _ formats.HeldAsset) http.Header {
	h := http.Header{
		"X-Content-Type-Options":  {"nosniff"},
		"Content-Security-Policy": {"default-src 'none'; sandbox"},
		"Content-Disposition":     {"attachment"},
	}
	if d := mime.FormatMediaType("attachment", map[string]string{"filename": t.File}); d != "" {
		h.Set("Content-Disposition", d)
	}
	return h
}
