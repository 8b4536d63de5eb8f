package codeartifact

import (
	"errors"
	"strings"

	"larder/cache/catalog"
	"larder/formats"
)

// ref is a package that a request names, whether it exists or not.
type ref struct {
	format         string
	name           formats.Name
	namespace, pkg string // as answers and ARNs spell them
}

// coordinateOf splits a name into namespace and package. Formats that do not say
// how keep namespace and package joined by a slash, or have no namespaces.
func (h *Handler) coordinateOf(format string, n formats.Name) (namespace, pkg string) {
	if co, ok := h.formats[format].(formats.Coordinator); ok {
		return co.Coordinate(n)
	}
	if pkg, ok := strings.CutPrefix(n.Canon, n.NS+"/"); ok && n.NS != "" {
		return n.NS, pkg
	}
	return "", n.Canon
}

// needsNamespace reports formats whose packages all have one (API reference,
// "namespace").
func needsNamespace(format string) bool {
	return format == "maven" || format == "swift" || format == "generic"
}

// ref finds the name that the request's coordinate means.
func (c *call) ref() (ref, error) {
	format, ns, pkg := c.args.text("format"), c.args.text("namespace"), c.args.text("package")
	if ns == "" && needsNamespace(format) {
		return ref{}, missing("namespace")
	}
	out := ref{format: format}
	if co, ok := c.h.formats[format].(formats.Coordinator); ok {
		var err error
		if out.name, err = co.FromCoordinate(ns, pkg); err != nil {
			return ref{}, misnamed(err)
		}
	} else {
		out.name = formats.Name{Canon: pkg, NS: ns}
		if ns != "" {
			out.name.Canon = ns + "/" + pkg
		}
	}
	if len(out.name.Canon) > 1024 {
		return ref{}, refused("package", pkg, "Member must have at most 1024 bytes together with the namespace")
	}
	out.namespace, out.pkg = c.h.coordinateOf(format, out.name)
	return out, nil
}

// misnamed words a format's refusal of a name.
func misnamed(err error) error {
	var r *formats.Refusal
	if errors.As(err, &r) && r.Kind == formats.BadRequest {
		return Invalid(ReasonField, "1 validation error detected: Value at 'package' failed to satisfy constraint: %s", r.Message)
	}
	return err
}

// subject is the package of a request in its repository.
type subject struct {
	ref
	domain *catalog.DomainState
	repo   *catalog.RepositoryRow
	place  catalog.Place

	// files is the version that holds the files of the one that was asked for,
	// and about its row: the same, or the build that a snapshot stands for.
	files string
	about *formats.Version
}

// packageResource is the resource of a package in the repository that a member
// names.
func (c *call) packageResource(r ref, member string) Resource {
	res := c.repositoryResource(member)
	res.Kind, res.Format, res.Namespace, res.Package = ResourcePackage, r.format, r.namespace, r.pkg
	return res
}

// onPackage asks the gate about the package and finds its repository.
func (c *call) onPackage() (*subject, error) {
	r, err := c.ref()
	if err != nil {
		return nil, err
	}
	if err := c.may(c.packageResource(r, "repository")); err != nil {
		return nil, err
	}
	s := &subject{ref: r}
	if s.domain, s.repo, err = c.repository("repository"); err != nil {
		return nil, err
	}
	s.place = catalog.RepositoryPlace(s.domain.Name, s.repo.Name)
	return s, nil
}

// row is the package's row. Upstreams are never looked at.
func (c *call) row(s *subject) (*catalog.Package, error) {
	row, err := c.h.catalog.Package(s.place, s.format, s.name.Canon)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, NotFound("package", s.pkg, "Package not found in repository. Package: '%s', repository: '%s'", s.name.Show(), s.repo.Name)
	}
	return row, err
}

func originOf(row *catalog.Package) originConfiguration {
	return originConfiguration{originRestrictions{row.Publish, row.Upstream}}
}

func (h *Handler) summarizePackage(row *catalog.Package) packageSummary {
	ns, pkg := h.coordinateOf(row.Format, row.Name)
	o := originOf(row)
	return packageSummary{Format: row.Format, Namespace: ns, Package: pkg, OriginConfiguration: &o}
}

func (c *call) describePackage() (any, error) {
	s, err := c.onPackage()
	if err != nil {
		return nil, err
	}
	row, err := c.row(s)
	if err != nil {
		return nil, err
	}
	return packageAnswer{packageDescription{s.format, s.namespace, s.pkg, originOf(row)}}, nil
}

func (c *call) deletePackage() (any, error) {
	s, err := c.onPackage()
	if err != nil {
		return nil, err
	}
	row, err := c.row(s)
	if err != nil {
		return nil, err
	}
	op := &catalog.DeletePackage{Repository: s.repo.Name, Format: s.format, Name: s.name}
	if _, err := c.propose(s.domain.Name, op); err != nil {
		return nil, err
	}
	return deletedPackage{c.h.summarizePackage(row)}, nil
}

// putOrigin sets both controls of a package; one that does not exist is made,
// without versions.
func (c *call) putOrigin() (any, error) {
	s, err := c.onPackage()
	if err != nil {
		return nil, err
	}
	want := arguments(c.args.mapping("restrictions"))
	op := &catalog.PutOrigin{Repository: s.repo.Name, Format: s.format, Name: s.name, Publish: want.text("publish"), Upstream: want.text("upstream")}
	if _, err := c.propose(s.domain.Name, op); err != nil {
		return nil, err
	}
	return originAnswer{originConfiguration{originRestrictions{op.Publish, op.Upstream}}}, nil
}
