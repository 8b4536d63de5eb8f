package codeartifact

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"larder/cache/catalog"
	"larder/formats"
)

// asset is a file of a version under CodeArtifact's name for it.
type asset struct {
	name string
	held formats.HeldAsset
	here bool // the bytes are in the store
}

// assets are the files of a version that came in, sorted by name. What was made
// here from another file (core metadata) is no asset.
func (c *call) assets(s *subject, v *formats.Version) ([]asset, error) {
	co, named := c.h.formats[s.format].(formats.Coordinator)
	nameOf := func(file string) string {
		if named {
			return co.AssetName(s.name, v.V, file)
		}
		return file
	}
	var out []asset
	for file, held := range v.Held {
		if !held.Derived {
			out = append(out, asset{nameOf(file), held, true})
		}
	}
	for _, a := range v.Assets {
		if _, here := v.Held[a.File]; here {
			continue
		}
		row, err := c.h.catalog.Asset(catalog.AssetKey{Place: s.place, Format: s.format, Name: s.name.Canon, Version: s.files, File: a.File})
		if errors.Is(err, catalog.ErrNotFound) {
			continue // never came in
		}
		if err != nil {
			return nil, err
		}
		if !row.Derived {
			out = append(out, asset{nameOf(a.File), row.HeldAsset, false})
		}
	}
	slices.SortFunc(out, func(a, b asset) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func (c *call) summarizeAsset(s *subject, v *formats.Version, a asset) assetSummary {
	return assetSummary{Name: a.name, Size: a.held.Size, Hashes: c.hashesOf(s, v, a)}
}

func (c *call) listAssets() (any, error) {
	s, v, err := c.onVersion()
	if err != nil {
		return nil, err
	}
	all, err := c.assets(s, v)
	if err != nil {
		return nil, err
	}
	got, next, err := page(c, all, defaultPage, func(a asset) string { return a.name })
	if err != nil {
		return nil, err
	}
	out := assetList{versionHead: s.head(v), Assets: []assetSummary{}, NextToken: next}
	for _, a := range got {
		out.Assets = append(out.Assets, c.summarizeAsset(s, v, a))
	}
	return out, nil
}

// findAsset finds an asset by CodeArtifact's name.
func (c *call) findAsset(s *subject, v *formats.Version, name string) (asset, error) {
	all, err := c.assets(s, v)
	if err != nil {
		return asset{}, err
	}
	i := slices.IndexFunc(all, func(a asset) bool { return a.name == name })
	if i < 0 {
		return asset{}, NotFound("asset", name, "Asset not found. Asset: '%s', package: '%s', version: '%s'", name, s.name.Show(), v.V)
	}
	return all[i], nil
}

// getAsset streams an asset's bytes. Versions whose files package managers do
// not get either (user guide, "package version status") have none to give.
func (c *call) getAsset() (any, error) {
	s, v, err := c.onVersion()
	if err != nil {
		return nil, err
	}
	name := c.args.text("asset")
	if want := c.args.text("packageVersionRevision"); want != "" && want != v.Hosting.Revision {
		return nil, conflict("package-version", v.V, "Package version has another revision. Version: '%s', current revision: %s, expected revision: %s", v.V, v.Hosting.Revision, want)
	}
	a, err := c.findAsset(s, v, name)
	if err != nil {
		return nil, err
	}
	if !v.Hosting.Status.Downloadable() {
		return nil, NotFound("asset", name, "Assets of a package version with the status %s cannot be downloaded. Package: '%s', version: '%s'", v.Hosting.Status, s.name.Show(), v.V)
	}
	f, err := c.h.backend.OpenAsset(c.r.Context(), s.domain.Name, s.repo.Name, s.format, s.name, s.files, a.held.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c.send(name, v, f)
	return nil, nil
}

// send writes the bytes. Once the header is out an error can only break the
// connection, which the missing rest of Content-Length tells the client.
func (c *call) send(name string, v *formats.Version, f formats.OpenFile) {
	h := c.w.Header()
	h.Set("X-AssetName", name)
	h.Set("X-PackageVersion", v.V)
	h.Set("X-PackageVersionRevision", v.Hosting.Revision)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.FormatInt(f.Size(), 10))
	if _, err := io.Copy(c.w, io.NewSectionReader(f, 0, f.Size())); err != nil {
		c.h.log.Debug("asset was not sent to its end", "asset", name, "err", err)
		panic(http.ErrAbortHandler)
	}
}

// assetMarks are the characters of a generic asset's name that are neither letter
// nor digit (user guide, "generic packages overview").
const assetMarks = "~!@^&()-_+[]{};,.`"

// genericAsset reports a legal name of a generic package's asset.
func genericAsset(name string) bool {
	if name == "." || name == ".." || name != strings.Trim(name, " ") || strings.Contains(name, "  ") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != ' ' && !strings.ContainsRune(assetMarks, r) && !unicode.In(r, unicode.L, unicode.Nl, unicode.Nd)
	})
}

// publishVersion takes in one asset of a generic package: the one format that
// CodeArtifact publishes by its API.
func (c *call) publishVersion() (any, error) {
	if f := c.args.text("format"); f != "generic" {
		return nil, refused("format", f, "Member must satisfy enum value set: [generic]")
	}
	if name := c.args.text("assetName"); !genericAsset(name) {
		return nil, refused("assetName", name, "Member must be letters, digits, single spaces inside and "+assetMarks+", and not . or ..")
	}
	for _, member := range []string{"namespace", "package", "packageVersion"} {
		if v := c.args.text(member); v == "." || v == ".." {
			return nil, refused(member, v, "Member must not be . or ..")
		}
	}
	s, err := c.onPackage()
	if err != nil {
		return nil, err
	}
	p := Publication{Domain: s.domain.Name, Repository: s.repo.Name, Name: s.name, Version: c.args.text("packageVersion"), Asset: c.args.text("assetName"),
		SHA256: c.args.text("assetSHA256"), Size: c.r.ContentLength, Unfinished: c.args.flag("unfinished")}
	if err := c.h.backend.PublishAsset(c.r.Context(), c.caller, p, c.r.Body); err != nil {
		return nil, err
	}
	v, err := c.version(s)
	if err != nil {
		return nil, fmt.Errorf("look up what was published: %w", err)
	}
	a, err := c.findAsset(s, v, p.Asset)
	if err != nil {
		return nil, fmt.Errorf("look up what was published: %w", err)
	}
	return publishAnswer{s.head(v), v.Hosting.Status.String(), c.summarizeAsset(s, v, a)}, nil
}
