package catalog

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"larder/cache/store"
)

func repositoryKey(domain, name string) []byte { return controlKey(famRepository, domain, name) }

// CreateRepository makes a repository.
type CreateRepository struct {
	Name          string            `cbor:"1,keyasint"`
	Administrator string            `cbor:"2,keyasint"`
	Description   string            `cbor:"3,keyasint,omitempty"`
	Upstreams     []string          `cbor:"4,keyasint,omitempty"`
	Tags          map[string]string `cbor:"5,keyasint,omitempty"`
}

func (*CreateRepository) kind() string                     { return "create-repository" }
func (*CreateRepository) locks() (bool, string, string)    { return true, "", "" }
func (*UpdateRepository) kind() string                     { return "update-repository" }
func (*UpdateRepository) locks() (bool, string, string)    { return true, "", "" }
func (*DeleteRepository) kind() string                     { return "delete-repository" }
func (*DeleteRepository) locks() (bool, string, string)    { return true, "", "" }
func (*PutRepositoryPolicy) kind() string                  { return "put-repository-policy" }
func (*PutRepositoryPolicy) locks() (bool, string, string) { return true, "", "" }
func (*SetConnection) kind() string                        { return "set-connection" }
func (*SetConnection) locks() (bool, string, string)       { return true, "", "" }
func (*Declare) kind() string                              { return "declare" }
func (*Declare) locks() (bool, string, string)             { return true, "", "" }

func (op *CreateRepository) apply(m *machine) error {
	d, err := m.domain()
	if err != nil {
		return err
	}
	if !repositoryName.MatchString(op.Name) {
		return fault(FaultValidation, "repository", op.Name, "repository %q: want 2 to 100 letters, digits and . _ -, beginning with a letter or digit", op.Name)
	}
	if _, ok := d.Repository(op.Name); ok {
		return fault(FaultConflict, "repository", op.Name, "Repository with name '%s' already exists in domain '%s'", op.Name, d.Name)
	}
	if len(d.names) >= maxRepositories {
		return fault(FaultQuota, "repository", op.Name, "Domain '%s' has %d repositories, which is the limit", d.Name, maxRepositories)
	}
	if err := checkUpstreams(d, op.Name, op.Upstreams); err != nil {
		return err
	}
	m.tell(Entry{Domain: d.Name, Repository: op.Name, Cause: CauseControl, Note: "repository created"})
	return m.put(repositoryKey(d.Name, op.Name), RepositoryRow{Name: op.Name, Domain: d.Name, Administrator: op.Administrator,
		Created: m.cmd.At, Description: op.Description, Upstreams: op.Upstreams, Tags: op.Tags})
}

// checkUpstreams refuses unknown, repeated and too many upstreams, and circles.
func checkUpstreams(d *DomainState, repo string, ups []string) error {
	if len(ups) > MaxUpstreams {
		return fault(FaultQuota, "repository", repo, "Repository '%s' would have %d upstreams; at most %d are allowed", repo, len(ups), MaxUpstreams)
	}
	for i, u := range ups {
		if _, ok := d.Repository(u); !ok && u != repo {
			return fault(FaultNotFound, "repository", u, "Upstream repository not found. Repository: '%s', Domain: '%s'", u, d.Name)
		}
		if slices.Contains(ups[:i], u) {
			return fault(FaultValidation, "repository", repo, "Upstream '%s' is listed twice", u)
		}
	}
	seen := map[string]bool{}
	var reaches func(name string) bool
	reaches = func(name string) bool {
		if name == repo {
			return true
		}
		if seen[name] {
			return false
		}
		seen[name] = true
		r, ok := d.Repository(name)
		return ok && slices.ContainsFunc(r.Upstreams, reaches)
	}
	for _, u := range ups {
		if reaches(u) {
			return fault(FaultValidation, "repository", repo, "Upstream '%s' leads back to repository '%s'", u, repo)
		}
	}
	return nil
}

// UpdateRepository changes what is not nil.
type UpdateRepository struct {
	Name        string    `cbor:"1,keyasint"`
	Description *string   `cbor:"2,keyasint,omitempty"`
	Upstreams   *[]string `cbor:"3,keyasint,omitempty"` // replaces the list; empty clears it
}

func (op *UpdateRepository) apply(m *machine) error {
	d, r, err := m.repository(op.Name)
	if err != nil {
		return err
	}
	if r.Declared {
		return declared("repository", r.Name)
	}
	row := *r
	if op.Description != nil {
		row.Description = *op.Description
	}
	if op.Upstreams != nil {
		if len(*op.Upstreams) > 0 && r.Connection != "" {
			return fault(FaultValidation, "repository", r.Name, "Repository '%s' has the external connection '%s'; a repository has upstreams or a connection, not both", r.Name, r.Connection)
		}
		if err := checkUpstreams(d, r.Name, *op.Upstreams); err != nil {
			return err
		}
		row.Upstreams = *op.Upstreams
	}
	m.tell(Entry{Domain: d.Name, Repository: r.Name, Cause: CauseControl, Note: "repository updated"})
	return m.put(repositoryKey(d.Name, r.Name), row)
}

// SetConnection associates an external connection, or with an empty one
// disassociates the one that Old names.
type SetConnection struct {
	Repository string `cbor:"1,keyasint"`
	Connection string `cbor:"2,keyasint,omitempty"`
	Old        string `cbor:"3,keyasint,omitempty"`
}

func (op *SetConnection) apply(m *machine) error {
	d, r, err := m.repository(op.Repository)
	if err != nil {
		return err
	}
	if r.Declared {
		return declared("repository", r.Name)
	}
	row := *r
	switch {
	case op.Connection == "":
		if r.Connection != op.Old || op.Old == "" {
			return fault(FaultNotFound, "repository", r.Name, "External connection '%s' is not associated with repository '%s'", op.Old, r.Name)
		}
		row.Connection = ""
	case r.Connection != "":
		return fault(FaultConflict, "repository", r.Name, "Repository '%s' already has the external connection '%s'; at most one is allowed", r.Name, r.Connection)
	case len(r.Upstreams) > 0:
		return fault(FaultValidation, "repository", r.Name, "Repository '%s' has upstreams; a repository has upstreams or an external connection, not both", r.Name)
	default:
		row.Connection = op.Connection
	}
	m.tell(Entry{Domain: d.Name, Repository: r.Name, Cause: CauseControl, Note: "external connection changed"})
	return m.put(repositoryKey(d.Name, r.Name), row)
}

// PutRepositoryPolicy replaces the repository's policy, or with an empty
// document deletes it.
type PutRepositoryPolicy struct {
	Repository string `cbor:"1,keyasint"`
	Document   string `cbor:"2,keyasint,omitempty"`
	Expect     string `cbor:"3,keyasint,omitempty"`
}

func (op *PutRepositoryPolicy) apply(m *machine) error {
	d, r, err := m.repository(op.Repository)
	if err != nil {
		return err
	}
	row := *r
	if row.Policy, err = newPolicy(m, r.Policy, "repository", r.Name, op.Document, op.Expect); err != nil {
		return err
	}
	m.tell(Entry{Domain: d.Name, Repository: r.Name, Cause: CauseControl, Note: "repository policy changed"})
	return m.put(repositoryKey(d.Name, r.Name), row)
}

// DeleteRepository takes a repository away with everything that it holds.
// Repositories that named it as upstream lose the link, as in CodeArtifact.
type DeleteRepository struct {
	Name string `cbor:"1,keyasint"`
}

func (op *DeleteRepository) apply(m *machine) error {
	d, r, err := m.repository(op.Name)
	if err != nil {
		return err
	}
	if r.Declared {
		return declared("repository", r.Name)
	}
	return m.removeRepository(d, r)
}

func (m *machine) removeRepository(d *DomainState, r *RepositoryRow) error {
	place := RepositoryPlace(d.Name, r.Name)
	if err := m.removeAssets(m.c.prefix(famAsset, string(place))); err != nil {
		return err
	}
	for _, fam := range []byte{famHead, famVersion, famPackage} {
		m.b.DeletePrefix(m.c.prefix(fam, string(place)))
	}
	m.b.DeletePrefix(m.c.prefix(famOwner, string(place)))
	m.b.Delete(repositoryKey(d.Name, r.Name))
	for _, other := range d.names {
		o := d.repos[other]
		// The upstreams of a declared repository are the configuration's.
		if !o.Declared && slices.Contains(o.Upstreams, r.Name) {
			row := *o
			row.Upstreams = slices.DeleteFunc(slices.Clone(o.Upstreams), func(u string) bool { return u == r.Name })
			if err := m.put(repositoryKey(d.Name, o.Name), row); err != nil {
				return err
			}
		}
	}
	for _, g := range d.groups {
		gone := map[string][]string{}
		for typ, list := range g.Allowed {
			if slices.Contains(list, r.Name) {
				gone[typ] = []string{r.Name}
			}
		}
		if len(gone) > 0 {
			// A later repository of that name must not inherit the trust.
			row := *g
			row.Allowed = changeLists(g.Allowed, nil, gone)
			if err := m.put(groupKey(d.Name, g.Pattern), row); err != nil {
				return err
			}
		}
	}
	m.tell(Entry{Domain: d.Name, Repository: r.Name, Cause: CauseControl, Note: "repository deleted"})
	return nil
}

// removeAssets deletes all asset rows below a prefix, with their references.
func (m *machine) removeAssets(prefix []byte) error {
	return m.c.db.Rows(prefix, nil, func(key, val []byte) error {
		var a AssetRow
		if err := m.c.dec.Unmarshal(val, &a); err != nil {
			return err
		}
		return m.dropAsset(bytes.Clone(key), &a)
	})
}

// dropAsset deletes one asset row and what it refers to.
func (m *machine) dropAsset(key []byte, a *AssetRow) error {
	m.b.Delete(key)
	return m.dropReference(key, a)
}

func (m *machine) dropReference(key []byte, a *AssetRow) error {
	sum, ok := SumOf(a.Digests)
	if !ok {
		return nil
	}
	ref := blobRefKey(sum, key)
	switch _, err := m.c.db.Row(ref); {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	m.b.Delete(ref)
	if a.Pinned {
		m.b.Unpin(sum)
	}
	m.b.Unref(sum)
	return nil
}

// Declare makes the domain of the command and its repositories as the node's
// configuration says. What was declared before and no longer is goes, unless it
// holds packages that were published to it: then it stays as a repository like
// any other.
type Declare struct {
	Owner        string          `cbor:"1,keyasint"`
	Repositories []RepositoryRow `cbor:"2,keyasint,omitempty"`
	// Partial says that more may be declared later: what was declared before and is
	// not named now stays as it is.
	Partial bool `cbor:"3,keyasint,omitempty"`
}

func (op *Declare) apply(m *machine) error {
	d, ok := m.state.Domain(m.cmd.Domain)
	changed := false
	if !ok {
		d = &DomainState{Domain: &Domain{Name: m.cmd.Domain, Owner: op.Owner, Created: m.cmd.At, Declared: true}, repos: map[string]*RepositoryRow{}}
		changed = true
		if err := m.put(domainKey(d.Name), d.Domain); err != nil {
			return err
		}
	} else if d.Owner != op.Owner || !d.Declared {
		row := *d.Domain
		row.Owner, row.Declared = op.Owner, true
		changed = true
		if err := m.put(domainKey(d.Name), row); err != nil {
			return err
		}
	}
	wanted := map[string]bool{}
	for _, want := range op.Repositories {
		wanted[want.Name] = true
		row := RepositoryRow{Name: want.Name, Domain: d.Name, Administrator: op.Owner, Created: m.cmd.At}
		old, known := d.Repository(want.Name)
		if known {
			row = *old
		}
		row.Description, row.Upstreams, row.Connection = want.Description, want.Upstreams, want.Connection
		row.Offline, row.Anonymous, row.Declared = want.Offline, want.Anonymous, true
		if known && old.Declared && old.Description == row.Description && slices.Equal(old.Upstreams, row.Upstreams) &&
			old.Connection == row.Connection && old.Offline == row.Offline && old.Anonymous == row.Anonymous {
			continue
		}
		changed = true
		if err := m.put(repositoryKey(d.Name, row.Name), row); err != nil {
			return err
		}
	}
	for _, name := range d.names {
		old := d.repos[name]
		if !old.Declared || wanted[name] || op.Partial {
			continue
		}
		changed = true
		hosts, err := m.c.hosts(RepositoryPlace(d.Name, name))
		if err != nil {
			return err
		}
		if !hosts {
			if err := m.removeRepository(d, old); err != nil {
				return err
			}
			continue
		}
		row := *old
		row.Declared, row.Anonymous, row.Connection, row.Upstreams = false, false, "", nil
		if err := m.put(repositoryKey(d.Name, name), row); err != nil {
			return err
		}
	}
	m.result.Changed = changed
	return nil
}

// hosts reports whether anything was published to a place.
func (c *Catalog) hosts(p Place) (bool, error) {
	found := false
	err := c.db.Rows(c.prefix(famVersion, string(p)), nil, func(key, val []byte) error {
		var v versionRow
		if err := c.dec.Unmarshal(val, &v); err != nil {
			return err
		}
		if v.Hosting != nil && v.Hosting.Publisher != "" {
			found = true
			return store.ErrStop
		}
		return nil
	})
	return found, err
}

// ConnectionFormat is the package format of CodeArtifact's public connections
// ("" for other names; user guide, "external connections").
func ConnectionFormat(name string) string {
	switch name {
	case "public:npmjs":
		return "npm"
	case "public:pypi":
		return "pypi"
	case "public:nuget-org":
		return "nuget"
	case "public:ruby-gems-org":
		return "ruby"
	case "public:crates-io":
		return "cargo"
	}
	if strings.HasPrefix(name, "public:maven-") {
		switch strings.TrimPrefix(name, "public:maven-") {
		case "central", "googleandroid", "gradleplugins", "commonsware", "clojars":
			return "maven"
		}
	}
	return ""
}
