package codeartifact

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"larder/cache/catalog"
	"larder/policy/origin"
)

func associationType(strong bool) string {
	if strong {
		return "STRONG"
	}
	return "WEAK"
}

// getAssociatedGroup finds the group of a package, which need not exist. The
// question to the gate is about the group that was found; without a domain it is
// about the root, which every domain has.
func (c *call) getAssociatedGroup() (any, error) {
	r, err := c.ref()
	if err != nil {
		return nil, err
	}
	pattern, strong := catalog.RootGroup, true
	d, absent := c.domain()
	var t *origin.Tree
	if absent == nil {
		if t, err = c.h.tree(d); err != nil {
			return nil, err
		}
		var g origin.Group
		g, strong = t.Associated(origin.Coordinate{Format: r.format, Namespace: r.namespace, Name: r.pkg})
		pattern = g.Pattern
	}
	if err := c.may(c.groupResource(pattern)); err != nil {
		return nil, err
	}
	if absent != nil {
		return nil, absent
	}
	g, err := c.h.describeGroup(d, t, pattern)
	return associatedGroup{g, associationType(strong)}, err
}

// listAssociated lists the packages of all repositories of the domain that
// belong to a group, each once. With preview the group need not exist: it is
// asked which packages it would take.
func (c *call) listAssociated() (any, error) {
	d, t, pattern, err := c.onGroup()
	if err != nil {
		return nil, err
	}
	if _, err := t.Group(pattern); errors.Is(err, origin.ErrNotFound) && c.args.flag("preview") {
		if t, err = t.Create(origin.Group{Pattern: pattern}); err != nil {
			return nil, ofOrigin(err, pattern)
		}
	} else if err != nil {
		return nil, ofOrigin(err, pattern)
	}
	p, err := origin.ParsePattern(pattern)
	if err != nil {
		return nil, ofOrigin(err, pattern)
	}
	after, err := c.position()
	if err != nil {
		return nil, err
	}
	m := &merge{h: c.h, domain: d, tree: t, pattern: pattern, format: p.Format(), size: c.pageSize(packagesPage), out: []packageSummary{}, last: after}
	if err := m.run(); err != nil {
		return nil, err
	}
	answer := packageList{Packages: m.out}
	if m.more {
		answer.NextToken, err = c.token(m.last)
	}
	return answer, err
}

// merge walks the packages of all repositories of a domain in one order, a bounded
// run of rows at a time.
type merge struct {
	h       *Handler
	domain  *catalog.DomainState
	tree    *origin.Tree
	pattern string
	format  string // the only one that the pattern can match, "" any
	size    int
	out     []packageSummary
	last    string // position up to which all packages were looked at
	more    bool
	scanned int
}

// mergeRun is how many rows of one repository are read at a time, fewer where
// there are so many repositories that one run of all would read too much.
const mergeRun = 256

func runLength(repositories int) int {
	return min(mergeRun, max(16, maxScanned/max(repositories, 1)))
}

func (m *merge) run() error {
	for {
		rows, upTo, err := m.next()
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !m.take(row) {
				return nil
			}
		}
		if upTo == "" {
			return nil
		}
		if m.last = upTo; m.scanned > maxScanned {
			m.more = true
			return nil
		}
	}
}

// take looks at one package and says whether to go on.
func (m *merge) take(row *catalog.Package) bool {
	ns, pkg := m.h.coordinateOf(row.Format, row.Name)
	g, strong := m.tree.Associated(origin.Coordinate{Format: row.Format, Namespace: ns, Name: pkg})
	if g.Pattern == m.pattern {
		if len(m.out) == m.size {
			m.more = true
			return false
		}
		m.out = append(m.out, packageSummary{Format: row.Format, Namespace: ns, Package: pkg, AssociationType: associationType(strong)})
	}
	if len(m.out) <= m.size {
		m.last = positionOf(row)
	}
	return true
}

func positionOf(row *catalog.Package) string { return row.Format + "\x00" + row.Name.Canon }

// next returns the packages behind m.last up to the position upTo, in order, each
// once. upTo is "" when nothing lies behind it: repositories whose run was cut
// short hold more, and what lies beyond the shortest run is left for the next.
func (m *merge) next() (rows []*catalog.Package, upTo string, err error) {
	format, name, _ := strings.Cut(m.last, "\x00")
	repos := m.domain.Repositories()
	length := runLength(len(repos))
	for _, repo := range repos {
		n := 0
		var lastRow *catalog.Package
		err := m.h.catalog.Packages(catalog.RepositoryPlace(m.domain.Name, repo), m.format, format, name, func(row *catalog.Package) bool {
			if n++; n > length {
				return false
			}
			lastRow = row
			rows = append(rows, row)
			return true
		})
		if err != nil {
			return nil, "", err
		}
		if n > length && (upTo == "" || positionOf(lastRow) < upTo) {
			upTo = positionOf(lastRow)
		}
		m.scanned += n
	}
	slices.SortFunc(rows, func(a, b *catalog.Package) int { return cmp.Compare(positionOf(a), positionOf(b)) })
	rows = slices.CompactFunc(rows, func(a, b *catalog.Package) bool { return positionOf(a) == positionOf(b) })
	if upTo != "" {
		rows = slices.DeleteFunc(rows, func(r *catalog.Package) bool { return positionOf(r) > upTo })
	}
	return rows, upTo, nil
}
