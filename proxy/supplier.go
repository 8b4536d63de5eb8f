package proxy

import (
	"errors"

	"larder/cache/catalog"
	"larder/formats"
	"larder/policy/origin"
)

// supplier is one place that a request may be answered from: what a repository
// itself holds, or an external connection.
type supplier struct {
	place catalog.Place
	repo  string              // the repository that holds it, or has the connection
	conn  *catalog.Connection // nil: the repository itself
	known bool                // a repository that has a package of the name
}

// sources lists the places that the repository asked may take a name from, in
// search order: depth first, each repository before its connection and its
// upstreams (CodeArtifact user guide, "upstream repository search order"). The
// package's origin controls in each repository, and the package groups of the
// domain, cut it short: a blocked name is never asked upstream.
func (x *exchange) sources(n formats.Name) ([]supplier, error) {
	if n.Canon != "" && x.srcName == n.Canon {
		return x.srcs, nil
	}
	var out []supplier
	walk := x.graph.Walk(x.repo)
	for i := 0; i < len(walk); {
		node := walk[i]
		place := catalog.RepositoryPlace(x.domain, node.Repository)
		out = append(out, supplier{place: place, repo: node.Repository})
		here, blocked := &out[len(out)-1], false
		if n.Canon != "" {
			p, err := x.s.cfg.Catalog.Package(place, x.format.ID(), n.Canon)
			if err == nil {
				here.known, blocked = p.Count > 0, p.Upstream == catalog.Block
			} else if !errors.Is(err, catalog.ErrNotFound) {
				return nil, err
			}
		}
		if c := node.Connection; c != nil && c.Format == x.format.ID() && !blocked && x.mayIngest(node.Repository, n) {
			out = append(out, supplier{place: catalog.ConnectionPlace(c.Name), repo: node.Repository, conn: c})
		}
		switch {
		case i == 0 && !x.mayTake(n):
			i = len(walk)
		case blocked:
			i = node.End
		default:
			i++
		}
	}
	x.srcName, x.srcs = n.Canon, out
	return out, nil
}

// mayIngest reports whether package groups let a repository ingest a name from
// its external connection.
func (x *exchange) mayIngest(repo string, n formats.Name) bool {
	return x.originAllows(origin.ExternalUpstream, repo, n)
}

// mayTake reports whether package groups let the repository asked take a name
// from its upstream repositories.
func (x *exchange) mayTake(n formats.Name) bool {
	return x.originAllows(origin.InternalUpstream, x.repo, n)
}

// originAllows asks the package groups alone; the package's own controls are
// rows of each repository.
func (x *exchange) originAllows(what origin.Type, repo string, n formats.Name) bool {
	d, ok := x.site.state.Domain(x.domain)
	if !ok || n.Canon == "" {
		return ok
	}
	return origin.Decide(d.Origins(), origin.PackageRestrictions{}, origin.Of(x.format.ID(), n), what, repo).Allowed
}

// connSources are the connections among the sources of a name.
func connSources(srcs []supplier) []*catalog.Connection {
	var out []*catalog.Connection
	for _, s := range srcs {
		if s.conn != nil {
			out = append(out, s.conn)
		}
	}
	return out
}

// askable are the connections that may learn a name: those that sources leaves.
// What is about no name may be asked of all.
func (x *exchange) askable(n formats.Name) ([]*catalog.Connection, error) {
	if n.Canon == "" {
		return x.connections(), nil
	}
	srcs, err := x.sources(n)
	if err != nil {
		return nil, err
	}
	conns := connSources(srcs)
	if len(conns) == 0 && len(x.connections()) > 0 {
		return nil, formats.Refuse(formats.NotFound, "origin controls keep %s from being asked for outside of repository %q", n.Show(), x.repo)
	}
	return conns, nil
}

// scope is the repository asked as a supplier pin knows it.
func (x *exchange) scope() string { return string(catalog.RepositoryPlace(x.domain, x.repo)) }

// localLayers reads which repositories themselves hold something of a name.
func (x *exchange) localLayers(srcs []supplier, t formats.Target) (map[catalog.Place]*layer, error) {
	out := map[catalog.Place]*layer{}
	for _, s := range srcs {
		if s.conn != nil {
			continue
		}
		row, err := x.s.cfg.Catalog.Head(catalog.ListingKey{Place: s.place, Format: x.format.ID(), Name: t.Name.Canon})
		if errors.Is(err, catalog.ErrNotFound) {
			if !s.known {
				continue
			}
			row = nil
		} else if err != nil {
			return nil, err
		}
		out[s.place] = &layer{place: s.place, name: s.repo, row: row}
	}
	return out, nil
}

// layers makes sure that what is known of a name is fresh enough, and returns
// the places that supply it, in search order.
func (x *exchange) layers(t formats.Target) ([]layer, error) {
	srcs, err := x.sources(t.Name)
	if err != nil {
		return nil, err
	}
	local, err := x.localLayers(srcs, t)
	if err != nil {
		return nil, err
	}
	conns := connSources(srcs)
	var outer []layer
	switch {
	case len(conns) == 0 && len(local) == 0:
		if len(x.connections()) == 0 {
			return nil, x.noConnection()
		}
		return nil, formats.Refuse(formats.NotFound, "%s is not in repository %q, and origin controls keep it from coming from outside", t.Name.Show(), x.repo)
	case len(conns) == 0:
	case mergeRule(x.format) == formats.Union:
		outer, err = x.unionLayers(t, conns)
	default:
		outer, err = x.ownerLayer(t, conns)
	}
	partial := false
	if err != nil {
		if len(local) == 0 {
			return nil, err
		}
		// What repositories hold themselves does not depend on an upstream's
		// health or knowledge (user guide, "external connection is not available").
		if ref := formats.AsRefusal(err); ref.Kind != formats.NotFound && ref.Kind != formats.NotHeld {
			partial = true
			x.s.log.Warn("an upstream could not be asked; only what repositories hold is listed", "event", "partial_listing",
				"format", x.format.ID(), "name", t.Name.Canon, "error", err)
		}
	}
	return x.order(srcs, local, outer, partial), nil
}

// order puts layers in search order.
func (x *exchange) order(srcs []supplier, local map[catalog.Place]*layer, outer []layer, partial bool) []layer {
	var out []layer
	for _, s := range srcs {
		if s.conn == nil {
			if l := local[s.place]; l != nil {
				l.stale = partial
				out = append(out, *l)
			}
			continue
		}
		for _, l := range outer {
			if l.place == s.place {
				out = append(out, l)
			}
		}
	}
	return out
}
