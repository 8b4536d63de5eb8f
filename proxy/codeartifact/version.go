package codeartifact

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"larder/cache/catalog"
	"larder/formats"
)

// version finds the version of the request, which the repository itself holds.
func (c *call) version(s *subject) (*formats.Version, error) {
	v := c.args.text("packageVersion")
	row, err := c.h.catalog.Held(s.place, s.format, s.name.Canon, v)
	if errors.Is(err, catalog.ErrNotFound) || err == nil && row.Hosting == nil {
		return nil, NotFound("package-version", v, "Package version not found in repository. Package: '%s', version: '%s', repository: '%s'", s.name.Show(), v, s.repo.Name)
	}
	if err != nil {
		return nil, err
	}
	return row, c.withBuild(s, row)
}

// withBuild lends a version that has no files of its own (a Maven snapshot) those
// of the build that it stands for.
func (c *call) withBuild(s *subject, row *formats.Version) error {
	s.files, s.about = row.V, row
	b, ok := c.h.formats[s.format].(formats.Builder)
	if !ok {
		return nil
	}
	build, ok := b.Build(row)
	if !ok {
		return nil
	}
	held, err := c.h.catalog.Held(s.place, s.format, s.name.Canon, build)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil // the build was deleted; the version has no files then
	}
	if err != nil {
		return err
	}
	s.files, s.about, row.Held, row.Assets = build, held, held.Held, held.Assets
	return nil
}

// onVersion asks the gate about the package and finds the version.
func (c *call) onVersion() (*subject, *formats.Version, error) {
	s, err := c.onPackage()
	if err != nil {
		return nil, nil, err
	}
	v, err := c.version(s)
	return s, v, err
}

func (s *subject) head(v *formats.Version) versionHead {
	return versionHead{s.format, s.namespace, s.pkg, v.V, v.Hosting.Revision}
}

// entry says how a version came into the domain.
func entry(h *formats.Hosting) versionOrigin {
	o := versionOrigin{OriginType: h.Origin.String()}
	switch {
	case h.EntryConnection != "":
		o.DomainEntryPoint = &entryPoint{ExternalConnectionName: h.EntryConnection}
	case h.EntryRepository != "":
		o.DomainEntryPoint = &entryPoint{RepositoryName: h.EntryRepository}
	}
	return o
}

// facts reads what the format can tell of a version; nil where it tells nothing.
func (c *call) facts(s *subject, v *formats.Version) (*formats.Facts, error) {
	d, ok := c.h.formats[s.format].(formats.Describer)
	if !ok {
		return nil, nil
	}
	return d.Describe(s.name, s.about, func(file string) (formats.OpenFile, error) {
		return c.h.backend.OpenAsset(c.r.Context(), s.domain.Name, s.repo.Name, s.format, s.name, s.files, file)
	})
}

// describeVersion tells what is in the rows even where the package's own files
// cannot be read (any more): a broken archive must still be seen to be deleted.
func (c *call) describeVersion() (any, error) {
	s, v, err := c.onVersion()
	if err != nil {
		return nil, err
	}
	f, err := c.facts(s, v)
	if err != nil {
		c.h.log.Warn("package version cannot be described", "format", s.format, "package", s.name.Canon, "version", v.V, "err", err)
	}
	if f == nil {
		f = &formats.Facts{}
	}
	out := versionDescription{Format: s.format, Namespace: s.namespace, PackageName: s.pkg, DisplayName: f.DisplayName, Version: v.V,
		Summary: f.Summary, HomePage: f.HomePage, SourceCodeRepository: f.SourceCode, PublishedTime: at(v.Hosting.Since),
		Licenses: []license{}, Revision: v.Hosting.Revision, Status: v.Hosting.Status.String(), Origin: entry(v.Hosting)}
	if r := []rune(out.DisplayName); len(r) > 255 {
		out.DisplayName = string(r[:255])
	}
	for _, l := range f.Licenses {
		out.Licenses = append(out.Licenses, license{l.Name, l.URL})
	}
	return versionAnswer{out}, nil
}

// newerFirst is the key by which versions sort from the latest publish time to
// the earliest.
func newerFirst(v *formats.Version) string {
	return fmt.Sprintf("%019d\x00%s", math.MaxInt64-v.Hosting.Since.UnixNano(), v.V)
}

// listVersions lists the versions that the repository holds, of all statuses
// unless one is asked for.
func (c *call) listVersions() (any, error) {
	s, err := c.onPackage()
	if err != nil {
		return nil, err
	}
	if _, err := c.row(s); err != nil {
		return nil, err
	}
	all, err := c.h.catalog.HeldVersions(s.place, s.format, s.name.Canon)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(v *formats.Version) bool { return v.Hosting == nil })
	display, err := c.displayVersion(s, all)
	if err != nil {
		return nil, err
	}
	status, origin := c.args.text("status"), c.args.text("originType")
	all = slices.DeleteFunc(all, func(v *formats.Version) bool {
		return status != "" && v.Hosting.Status.String() != status || origin != "" && v.Hosting.Origin.String() != origin
	})
	key := func(v *formats.Version) string { return v.V }
	if c.args.has("sortBy") {
		key = newerFirst
	}
	slices.SortFunc(all, func(a, b *formats.Version) int { return cmp.Compare(key(a), key(b)) })
	got, next, err := page(c, all, defaultPage, key)
	if err != nil {
		return nil, err
	}
	out := versionListAnswer{DefaultDisplayVersion: display, Format: s.format, Namespace: s.namespace, Package: s.pkg, Versions: []versionSummary{}, NextToken: next}
	for _, v := range got {
		out.Versions = append(out.Versions, versionSummary{v.V, v.Hosting.Revision, v.Hosting.Status.String(), entry(v.Hosting)})
	}
	return out, nil
}

// displayVersion is the version to show first: npm's tag latest where the
// repository holds that version, else the Published one that came last (API
// reference, "defaultDisplayVersion").
func (c *call) displayVersion(s *subject, all []*formats.Version) (string, error) {
	if s.format == "npm" {
		head, err := c.h.catalog.Head(catalog.ListingKey{Place: s.place, Format: s.format, Name: s.name.Canon})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return "", err
		}
		if err == nil {
			latest := head.Head.Tags["latest"]
			if slices.ContainsFunc(all, func(v *formats.Version) bool { return v.V == latest }) {
				return latest, nil
			}
		}
	}
	var best *formats.Version
	for _, v := range all {
		if v.Hosting.Status == formats.Published && (best == nil || newerFirst(v) < newerFirst(best)) {
			best = v
		}
	}
	if best == nil {
		return "", nil
	}
	return best.V, nil
}

// getReadme answers 404 where there is none, generic packages among them.
func (c *call) getReadme() (any, error) {
	s, v, err := c.onVersion()
	if err != nil {
		return nil, err
	}
	f, err := c.facts(s, v)
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("read readme of %s %s: %w", s.name.Canon, v.V, err)
	}
	if f == nil || f.Readme == "" {
		return nil, NotFound("package-version", v.V, "Package version has no readme. Package: '%s', version: '%s'", s.name.Show(), v.V)
	}
	return readmeAnswer{s.head(v), f.Readme}, nil
}

func (c *call) listDependencies() (any, error) {
	s, v, err := c.onVersion()
	if err != nil {
		return nil, err
	}
	f, err := c.facts(s, v)
	if err != nil {
		return nil, fmt.Errorf("read dependencies of %s %s: %w", s.name.Canon, v.V, err)
	}
	type numbered struct {
		key string
		dependency
	}
	all := []numbered{}
	if f != nil {
		for i, d := range f.Dependencies {
			all = append(all, numbered{fmt.Sprintf("%08d", i), dependency{d.Namespace, d.Package, d.Type, d.Requirement}})
		}
	}
	got, next, err := page(c, all, defaultPage, func(n numbered) string { return n.key })
	out := dependencyList{versionHead: s.head(v), Dependencies: []dependency{}, NextToken: next}
	for _, n := range got {
		out.Dependencies = append(out.Dependencies, n.dependency)
	}
	return out, err
}

// updateStatus moves versions to Published, Unlisted or Archived.
func (c *call) updateStatus() (any, error) {
	status, _ := formats.ParseStatus(c.args.text("targetStatus"))
	return c.move(status)
}

func (c *call) disposeVersions() (any, error) { return c.move(formats.DisposedStatus) }

func (c *call) deleteVersions() (any, error) { return c.move(formats.Deleted) }

func (c *call) move(target formats.Status) (any, error) {
	s, err := c.onPackage()
	if err != nil {
		return nil, err
	}
	expect, _ := formats.ParseStatus(c.args.text("expectedStatus"))
	result, err := c.propose(s.domain.Name, &catalog.UpdateStatus{Repository: s.repo.Name, Format: s.format, Name: s.name,
		Versions: c.args.texts("versions"), Revisions: c.args.textMap("versionRevisions"), Expect: expect, Target: target})
	if err != nil {
		return nil, err
	}
	return ofBatch(result), nil
}

// copyVersions needs the right to copy to the package at the destination and to
// read the source.
func (c *call) copyVersions() (any, error) {
	r, err := c.ref()
	if err != nil {
		return nil, err
	}
	versions, revisions := c.args.texts("versions"), c.args.textMap("versionRevisions")
	if c.args.has("versions") == c.args.has("versionRevisions") {
		return nil, Invalid(ReasonField, "1 validation error detected: Value at 'versions' failed to satisfy constraint: Member must be given, or else versionRevisions, not both")
	}
	if revisions != nil {
		for v := range revisions {
			versions = append(versions, v)
		}
		slices.Sort(versions)
		if len(versions) == 0 {
			return nil, refused("versionRevisions", "0 entries", "Member must have length greater than or equal to 1")
		}
	}
	if err := c.may(c.packageResource(r, "destinationRepository")); err != nil {
		return nil, err
	}
	if err := c.mayDo("ReadFromRepository", c.repositoryResource("sourceRepository")); err != nil {
		return nil, err
	}
	d, src, err := c.repository("sourceRepository")
	if err != nil {
		return nil, err
	}
	_, dst, err := c.repository("destinationRepository")
	if err != nil {
		return nil, err
	}
	if src.Name == dst.Name {
		return nil, refused("destinationRepository", dst.Name, "Member must be another repository than the source")
	}
	if c.args.flag("includeFromUpstream") {
		if err := c.ingest(d, src, r, versions); err != nil {
			return nil, err
		}
	}
	result, err := c.propose(d.Name, &catalog.Copy{Source: src.Name, Destination: dst.Name, Format: r.format, Name: r.name,
		Versions: versions, Revisions: revisions, Overwrite: c.args.flag("allowOverwrite")})
	if err != nil {
		return nil, err
	}
	return ofBatch(result), nil
}

// ingest fetches what the source does not hold and its upstreams have. What none
// of them has is left to be reported as not found.
func (c *call) ingest(d *catalog.DomainState, src *catalog.RepositoryRow, r ref, versions []string) error {
	place := catalog.RepositoryPlace(d.Name, src.Name)
	for _, v := range versions {
		if _, err := c.h.catalog.Version(place, r.format, r.name.Canon, v); err == nil {
			continue
		} else if !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		err := c.h.backend.Ingest(c.r.Context(), d.Name, src.Name, r.format, r.name, v)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("ingest %s %s: %w", r.name.Canon, v, err)
		}
	}
	return nil
}
