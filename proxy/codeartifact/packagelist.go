package codeartifact

import (
	"slices"
	"strings"

	"larder/cache/catalog"
)

// maxScanned is how many rows one page reads at most. A filter that lets little
// through makes short pages with a nextToken, never a long wait.
const maxScanned = 20000

// packageFilter is what ListPackages lets through.
type packageFilter struct {
	format, namespace, prefix string
	publish, upstream         string
}

func (f *packageFilter) matches(p packageSummary) bool {
	r := p.OriginConfiguration.Restrictions
	return strings.HasPrefix(p.Namespace, f.namespace) && strings.HasPrefix(foldedPrefix(f.format, p.Package), f.prefix) &&
		(f.publish == "" || f.publish == r.Publish) && (f.upstream == "" || f.upstream == r.Upstream)
}

// foldedPrefix spells the beginning of a name as the format's canonical names
// are spelled, so that any spelling finds them.
func foldedPrefix(format, prefix string) string {
	switch format {
	case "pypi":
		prefix = strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(prefix))
		for strings.Contains(prefix, "--") {
			prefix = strings.ReplaceAll(prefix, "--", "-")
		}
	case "nuget", "cargo":
		prefix = strings.ToLower(prefix)
	}
	return prefix
}

// spans are prefixes of row keys, sorted, outside of which nothing matches, so
// that a filter seeks instead of reading past what it does not want. They rest
// on how formats spell canonical names (see formats.Name and
// formats.Coordinator).
func (f *packageFilter) spans() []string {
	switch f.format {
	case "npm":
		switch {
		case f.namespace != "":
			return []string{"@" + f.namespace}
		case f.prefix != "":
			out := []string{"@", f.prefix}
			slices.Sort(out)
			return out
		}
	case "maven", "generic":
		return []string{f.namespace}
	case "pypi", "cargo", "nuget", "ruby", "go":
		if f.namespace == "" {
			return []string{f.prefix}
		}
	}
	return []string{""}
}

// below is the greatest key, near enough, that sorts before all that begin with
// prefix: names are UTF-8, which has no byte 0xff.
func below(prefix string) string {
	n := len(prefix)
	if n == 0 || prefix[n-1] == 0 {
		return ""
	}
	return prefix[:n-1] + string(prefix[n-1]-1) + "\xff"
}

// listPackages pages through a repository's packages in the order of format and
// name. A page seeks to where the one before ended, so its cost does not depend
// on how far it is.
func (c *call) listPackages() (any, error) {
	if c.args.has("namespace") && !c.args.has("format") {
		return nil, Invalid(ReasonField, "1 validation error detected: Value at 'namespace' failed to satisfy constraint: Member must come with a format")
	}
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	after, err := c.position()
	if err != nil {
		return nil, err
	}
	f := &packageFilter{c.args.text("format"), c.args.text("namespace"), c.args.text("packagePrefix"), c.args.text("publish"), c.args.text("upstream")}
	if f.format == "npm" {
		f.namespace = strings.TrimPrefix(f.namespace, "@")
	}
	f.prefix = foldedPrefix(f.format, f.prefix)
	s := &packageScan{h: c.h, filter: f, size: c.pageSize(packagesPage), out: []packageSummary{}}
	if err := s.run(catalog.RepositoryPlace(d.Name, r.Name), after); err != nil {
		return nil, err
	}
	answer := packageList{Packages: s.out}
	if s.more {
		answer.NextToken, err = c.token(s.last)
	}
	return answer, err
}

// packageScan collects one page.
type packageScan struct {
	h       *Handler
	filter  *packageFilter
	size    int
	out     []packageSummary
	last    string // position of the last row that the page accounts for
	more    bool
	scanned int
}

func (s *packageScan) run(place catalog.Place, after string) error {
	afterFormat, afterName, _ := strings.Cut(after, "\x00")
	for _, span := range s.filter.spans() {
		from, name := afterFormat, afterName
		if span != "" {
			if start := below(span); start > name {
				from, name = s.filter.format, start
			} else if name > span && !strings.HasPrefix(name, span) {
				continue
			}
		}
		err := s.h.catalog.Packages(place, s.filter.format, from, name, func(row *catalog.Package) bool {
			return strings.HasPrefix(row.Name.Canon, span) && s.take(row)
		})
		if err != nil || s.more {
			return err
		}
	}
	return nil
}

// take looks at one row and says whether to go on.
func (s *packageScan) take(row *catalog.Package) bool {
	position := row.Format + "\x00" + row.Name.Canon
	if s.scanned++; s.scanned > maxScanned {
		s.more = true
		return false
	}
	p := s.h.summarizePackage(row)
	if !s.filter.matches(p) {
		if len(s.out) < s.size {
			s.last = position
		}
		return true
	}
	if len(s.out) == s.size {
		s.more = true
		return false
	}
	s.out = append(s.out, p)
	s.last = position
	return true
}
