package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"larder/policy/origin"
)

// Policy is a resource policy as it was put.
type Policy struct {
	Document string `cbor:"1,keyasint"`
	Revision string `cbor:"2,keyasint"`
}

// Domain is the row of a domain. Its name is unique on a node.
type Domain struct {
	Name          string            `cbor:"1,keyasint"`
	Owner         string            `cbor:"2,keyasint"` // 12 digits
	Created       time.Time         `cbor:"3,keyasint"`
	EncryptionKey string            `cbor:"4,keyasint,omitempty"`
	Tags          map[string]string `cbor:"5,keyasint,omitempty"`
	Policy        *Policy           `cbor:"6,keyasint,omitempty"`
	Declared      bool              `cbor:"7,keyasint,omitempty"` // written in the node's configuration
}

// RepositoryRow is the row of a repository.
type RepositoryRow struct {
	Name          string            `cbor:"1,keyasint"`
	Domain        string            `cbor:"2,keyasint"`
	Administrator string            `cbor:"3,keyasint"` // account that created it
	Created       time.Time         `cbor:"4,keyasint"`
	Description   string            `cbor:"5,keyasint,omitempty"`
	Upstreams     []string          `cbor:"6,keyasint,omitempty"`
	Connection    string            `cbor:"7,keyasint,omitempty"`
	Tags          map[string]string `cbor:"8,keyasint,omitempty"`
	Policy        *Policy           `cbor:"9,keyasint,omitempty"`
	Declared      bool              `cbor:"10,keyasint,omitempty"`
	Offline       bool              `cbor:"11,keyasint,omitempty"`
	Anonymous     bool              `cbor:"12,keyasint,omitempty"` // may be read without a credential
}

// Group is the row of a package group. The modes and lists are keyed by
// CodeArtifact's restriction type.
type Group struct {
	Pattern      string              `cbor:"1,keyasint"`
	Created      time.Time           `cbor:"2,keyasint"`
	Contact      string              `cbor:"3,keyasint,omitempty"`
	Description  string              `cbor:"4,keyasint,omitempty"`
	Restrictions map[string]string   `cbor:"5,keyasint,omitempty"` // PUBLISH etc. -> ALLOW etc.
	Allowed      map[string][]string `cbor:"6,keyasint,omitempty"` // PUBLISH etc. -> repositories
	Tags         map[string]string   `cbor:"7,keyasint,omitempty"`
}

// State is an immutable picture of all control rows. Whoever holds it may keep
// it; nothing in it is ever changed.
type State struct {
	Seq     uint64 // ledger sequence number it was read at
	domains map[string]*DomainState
	names   []string
}

// DomainState is one domain of a State.
type DomainState struct {
	*Domain
	repos  map[string]*RepositoryRow
	names  []string // of repositories, sorted
	groups []*Group // sorted by pattern
	tree   *origin.Tree
}

// Domain returns one domain by name.
func (s *State) Domain(name string) (*DomainState, bool) { d, ok := s.domains[name]; return d, ok }

// Domains lists the names of all domains, sorted.
func (s *State) Domains() []string { return s.names }

// Repository returns one repository of the domain.
func (d *DomainState) Repository(name string) (*RepositoryRow, bool) {
	r, ok := d.repos[name]
	return r, ok
}

// Repositories lists the names of all repositories of the domain, sorted.
func (d *DomainState) Repositories() []string { return d.names }

// Groups lists the package groups that were made, sorted by pattern; the root
// group stands among them only after it was edited.
func (d *DomainState) Groups() []*Group { return d.groups }

// Origins is the tree of package groups.
func (d *DomainState) Origins() *origin.Tree { return d.tree }

// Group returns one package group by its pattern.
func (d *DomainState) Group(pattern string) (*Group, bool) {
	i, ok := slices.BinarySearchFunc(d.groups, pattern, func(g *Group, p string) int { return strings.Compare(g.Pattern, p) })
	if !ok {
		return nil, false
	}
	return d.groups[i], true
}

func originTree(groups []*Group) (*origin.Tree, error) {
	var out []origin.Group
	for _, g := range groups {
		o := origin.Group{Pattern: g.Pattern, Restrictions: map[origin.Type]origin.Mode{}, Allowed: map[origin.Type][]string{}}
		for t, m := range g.Restrictions {
			o.Restrictions[origin.Type(t)] = origin.Mode(m)
		}
		for t, list := range g.Allowed {
			if len(list) > 0 {
				o.Allowed[origin.Type(t)] = list
			}
		}
		out = append(out, o)
	}
	return origin.New(out)
}

// State returns the control rows as they are now.
func (c *Catalog) State() *State { return c.state.Load() }

// controlKey builds the key of a control row; these belong to no domain's
// package rows.
func controlKey(fam byte, parts ...string) []byte {
	return append([]byte{fam, 0}, strings.Join(parts, "\x00")...)
}

// readState reads all control rows.
func (c *Catalog) readState() (*State, error) {
	s := &State{Seq: c.db.LedgerSeq(), domains: map[string]*DomainState{}}
	err := c.db.Rows([]byte{famDomain, 0}, nil, func(key, val []byte) error {
		d := &DomainState{Domain: &Domain{}, repos: map[string]*RepositoryRow{}}
		if err := c.dec.Unmarshal(val, d.Domain); err != nil {
			return fmt.Errorf("decode domain row %q: %w", key, err)
		}
		s.domains[d.Name] = d
		s.names = append(s.names, d.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.db.Rows([]byte{famRepository, 0}, nil, func(key, val []byte) error {
		r := &RepositoryRow{}
		if err := c.dec.Unmarshal(val, r); err != nil {
			return fmt.Errorf("decode repository row %q: %w", key, err)
		}
		d := s.domains[r.Domain]
		if d == nil {
			return fmt.Errorf("repository row %q is of no domain", key)
		}
		d.repos[r.Name] = r
		d.names = append(d.names, r.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.db.Rows([]byte{famGroup, 0}, nil, func(key, val []byte) error {
		g := &Group{}
		if err := c.dec.Unmarshal(val, g); err != nil {
			return fmt.Errorf("decode package group row %q: %w", key, err)
		}
		domain, _, _ := strings.Cut(string(key[2:]), "\x00")
		d := s.domains[domain]
		if d == nil {
			return fmt.Errorf("package group row %q is of no domain", key)
		}
		d.groups = append(d.groups, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(s.names)
	for _, d := range s.domains {
		slices.Sort(d.names)
		slices.SortFunc(d.groups, func(a, b *Group) int { return strings.Compare(a.Pattern, b.Pattern) })
		if d.tree, err = originTree(d.groups); err != nil {
			return nil, fmt.Errorf("read package groups of domain %s: %w", d.Name, err)
		}
	}
	return s, nil
}
