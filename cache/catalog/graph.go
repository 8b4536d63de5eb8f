package catalog

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"larder/formats"
)

// Limits of CodeArtifact's upstream model (AWS CodeArtifact quotas).
const (
	MaxUpstreams = 10 // of one repository
	maxSearched  = 25
)

// Connection is an external connection as the control plane knows it.
type Connection struct {
	formats.Connection
	Format      string
	MetadataTTL time.Duration
	Offline     bool
}

// Repository is one repository of the domain. It has upstreams or one
// connection, never both (CodeArtifact API reference, AssociateExternalConnection).
type Repository struct {
	Name        string
	Description string
	Upstreams   []string
	Connection  string
	Offline     bool
	Anonymous   bool // may be read without a credential
}

// Node is one repository of a search, with its connection.
type Node struct {
	Repository string
	Connection *Connection // nil without one
	// End is the index behind the last node that is reached through this one.
	End int
}

// Graph is an immutable picture of all repositories and connections.
type Graph struct {
	repos map[string]*Repository
	conns map[string]*Connection
	order []string
	found map[string][]*Connection // repository -> connections, depth first
	walks map[string][]Node        // repository -> search order, itself first
}

// The name grammars of the CodeArtifact service model.
var (
	repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,99}$`)
	connectionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{1,99}$`)
)

// NewGraph checks names, references, limits and cycles.
func NewGraph(repos []Repository, conns []Connection) (*Graph, error) {
	g := &Graph{repos: map[string]*Repository{}, conns: map[string]*Connection{}, found: map[string][]*Connection{}, walks: map[string][]Node{}}
	for i := range conns {
		c := &conns[i]
		if !connectionName.MatchString(c.Name) {
			return nil, fmt.Errorf("connection name %q: want 2 to 100 of A-Z a-z 0-9 and . _ : -", c.Name)
		}
		if g.conns[c.Name] != nil {
			return nil, fmt.Errorf("connection %q stands twice", c.Name)
		}
		g.conns[c.Name] = c
	}
	for i := range repos {
		r := &repos[i]
		if !repositoryName.MatchString(r.Name) {
			return nil, fmt.Errorf("repository name %q: want 2 to 100 of A-Z a-z 0-9 . _ -", r.Name)
		}
		if g.repos[r.Name] != nil {
			return nil, fmt.Errorf("repository %q stands twice", r.Name)
		}
		if r.Connection != "" && len(r.Upstreams) > 0 {
			return nil, fmt.Errorf("repository %q has both upstreams and a connection; give it one of them", r.Name)
		}
		if r.Connection != "" && g.conns[r.Connection] == nil {
			return nil, fmt.Errorf("repository %q names connection %q, which does not exist", r.Name, r.Connection)
		}
		if len(r.Upstreams) > MaxUpstreams {
			return nil, fmt.Errorf("repository %q has %d upstreams; at most %d are allowed", r.Name, len(r.Upstreams), MaxUpstreams)
		}
		g.repos[r.Name] = r
		g.order = append(g.order, r.Name)
	}
	for _, r := range g.repos {
		for _, u := range r.Upstreams {
			if g.repos[u] == nil {
				return nil, fmt.Errorf("repository %q names upstream %q, which does not exist", r.Name, u)
			}
		}
	}
	for _, name := range g.order {
		if err := g.resolve(name); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// resolve walks depth first in list order, each repository once, at most 25
// (CodeArtifact user guide, "upstream repository search order").
func (g *Graph) resolve(root string) error {
	var nodes []Node
	seen, onPath := map[string]bool{}, map[string]bool{}
	var walk func(name string) error
	walk = func(name string) error {
		if onPath[name] {
			return fmt.Errorf("repository %q is its own upstream", name)
		}
		if seen[name] || len(seen) >= maxSearched {
			return nil
		}
		seen[name], onPath[name] = true, true
		defer delete(onPath, name)
		r := g.repos[name]
		at := len(nodes)
		nodes = append(nodes, Node{Repository: name})
		if r.Connection != "" {
			c := g.conns[r.Connection]
			if (r.Offline || g.repos[root].Offline) && !c.Offline {
				off := *c
				off.Offline = true
				c = &off
			}
			nodes[at].Connection = c
		}
		for _, u := range r.Upstreams {
			if err := walk(u); err != nil {
				return err
			}
		}
		nodes[at].End = len(nodes)
		return nil
	}
	if err := walk(root); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Connection != nil {
			g.found[root] = append(g.found[root], n.Connection)
		}
	}
	g.walks[root] = nodes
	return nil
}

// Walk returns the repositories that a request to repo searches, depth first in
// list order, itself first.
func (g *Graph) Walk(repo string) []Node { return g.walks[repo] }

// DomainGraph makes the graph of a domain. A connection that this node knows no
// address of is there, but always offline; an upstream that is gone is passed
// over.
func DomainGraph(d *DomainState, conns []Connection) (*Graph, error) {
	known := map[string]bool{}
	for _, c := range conns {
		known[c.Name] = true
	}
	var repos []Repository
	for _, name := range d.names {
		r := d.repos[name]
		repo := Repository{Name: r.Name, Description: r.Description, Connection: r.Connection, Offline: r.Offline, Anonymous: r.Anonymous}
		for _, u := range r.Upstreams {
			if d.repos[u] != nil {
				repo.Upstreams = append(repo.Upstreams, u)
			}
		}
		if r.Connection != "" && !known[r.Connection] {
			known[r.Connection] = true
			conns = append(conns, Connection{Connection: formats.Connection{Name: r.Connection}, Format: ConnectionFormat(r.Connection), Offline: true})
		}
		repos = append(repos, repo)
	}
	return NewGraph(repos, conns)
}

// Repository returns one repository by name.
func (g *Graph) Repository(name string) (*Repository, bool) { r, ok := g.repos[name]; return r, ok }

// Repositories lists all names in configured order.
func (g *Graph) Repositories() []string { return g.order }

// Connection returns one connection by name.
func (g *Graph) Connection(name string) (*Connection, bool) { c, ok := g.conns[name]; return c, ok }

// AllConnections returns every connection of the graph, by name.
func (g *Graph) AllConnections() []Connection {
	out := make([]Connection, 0, len(g.conns))
	for _, name := range slices.Sorted(maps.Keys(g.conns)) {
		out = append(out, *g.conns[name])
	}
	return out
}

// Connections returns the connections of one format that the repository
// reaches, in search order. A connection reached through a repository that is
// offline comes back with Offline set.
func (g *Graph) Connections(repo, format string) []*Connection {
	var out []*Connection
	for _, c := range g.found[repo] {
		if c.Format == format {
			out = append(out, c)
		}
	}
	return out
}
