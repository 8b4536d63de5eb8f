package main

import (
	"fmt"
	"slices"
	"strings"

	"larder/cache/catalog"
)

// checkRepositories checks names and the graph that upstreams and connections
// make.
func (c *Config) checkRepositories(faults *ConfigError) {
	fault := c.reporter(faults)
	if len(c.Connection) > 0 && c.doc.has("connection[0]") && !c.doc.has("repository[0]") {
		fault("connection[0]", "no [[repository]] uses a connection: write [[repository]] with name and connection = %q", c.Connection[0].Name)
	}
	names := map[string]int{}
	for i, r := range c.Repository {
		c.unique(fault, names, "repository", i, "name", r.Name)
		if r.Name != "" && !isName(r.Name, "._-") {
			fault(at("repository", i, "name"), "repository name %q: want 2 to 100 letters, digits and ._- starting with a letter or digit", r.Name)
		}
	}
	for i, r := range c.Repository {
		if r.Anonymous != "" {
			oneOf(fault, at("repository", i, "anonymous"), r.Anonymous, "read", "none")
		}
		c.checkEdges(fault, i, r)
	}
	for i, r := range c.Repository {
		if loop := c.cycleFrom(r.Name); loop != nil && r.Name == slices.Min(loop) {
			fault(at("repository", i, "upstreams"), "upstreams go round in a circle: %s -> %s", strings.Join(loop, " -> "), loop[0])
		}
	}
}

// checkEdges checks what one repository points at.
func (c *Config) checkEdges(fault reportFunc, i int, r Repository) {
	var repos, conns []string
	for _, other := range c.Repository {
		repos = append(repos, other.Name)
	}
	for _, conn := range c.Connection {
		conns = append(conns, conn.Name)
	}
	if len(r.Upstreams) > 0 && r.Connection != "" {
		fault(at("repository", i, "connection"), "repository %q: has upstreams and a connection; a repository has one or the other", r.Name)
	}
	if r.Connection != "" && !slices.Contains(conns, r.Connection) {
		fault(at("repository", i, "connection"), "repository %q: there is no connection %q%s", r.Name, r.Connection, didYouMean(r.Connection, conns))
	}
	if len(r.Upstreams) > catalog.MaxUpstreams {
		fault(at("repository", i, "upstreams"), "repository %q: has %d upstreams; at most %d are allowed, so gather some in a repository of their own",
			r.Name, len(r.Upstreams), catalog.MaxUpstreams)
	}
	for j, up := range r.Upstreams {
		if !slices.Contains(repos, up) {
			hint := didYouMean(up, repos)
			if slices.Contains(conns, up) {
				hint = fmt.Sprintf(" (%q is a connection: write connection = %q in a repository of its own)", up, up)
			}
			fault(at("repository", i, "upstreams"), "repository %q: there is no upstream repository %q%s", r.Name, up, hint)
		}
		if slices.Contains(r.Upstreams[:j], up) {
			fault(at("repository", i, "upstreams"), "repository %q: upstream %q is listed twice", r.Name, up)
		}
	}
}

func didYouMean(s string, candidates []string) string {
	if near, ok := nearest(s, candidates); ok {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// cycleFrom returns the repositories of a circle that leads back to start, nil
// if there is none.
func (c *Config) cycleFrom(start string) []string {
	next := map[string][]string{}
	for _, r := range c.Repository {
		next[r.Name] = r.Upstreams
	}
	seen := map[string]bool{}
	var walk func(name string, path []string) []string
	walk = func(name string, path []string) []string {
		for _, up := range next[name] {
			if up == start {
				return path
			}
			if seen[up] {
				continue
			}
			seen[up] = true
			if loop := walk(up, append(slices.Clone(path), up)); loop != nil {
				return loop
			}
		}
		return nil
	}
	return walk(start, []string{start})
}
