package catalog

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"time"
)

// domainName is the grammar of domain names in the CodeArtifact service model.
var domainName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,48}[a-z0-9]$`)

// Quotas of the control plane (CodeArtifact quotas; adjustable there).
const maxRepositories = 1000 // in a domain

func domainKey(name string) []byte { return controlKey(famDomain, name) }

// CreateDomain makes a domain owned by an account.
type CreateDomain struct {
	Owner         string            `cbor:"1,keyasint"`
	EncryptionKey string            `cbor:"2,keyasint,omitempty"`
	Tags          map[string]string `cbor:"3,keyasint,omitempty"`
}

func (*CreateDomain) kind() string                     { return "create-domain" }
func (*CreateDomain) locks() (bool, string, string)    { return true, "", "" }
func (*DeleteDomain) kind() string                     { return "delete-domain" }
func (*DeleteDomain) locks() (bool, string, string)    { return true, "", "" }
func (*PutDomainPolicy) kind() string                  { return "put-domain-policy" }
func (*PutDomainPolicy) locks() (bool, string, string) { return true, "", "" }

func (op *CreateDomain) apply(m *machine) error {
	name := m.cmd.Domain
	if !domainName.MatchString(name) {
		return fault(FaultValidation, "domain", name, "domain %q: want 2 to 50 of a-z, 0-9 and -, beginning with a letter and not ending with -", name)
	}
	if d, ok := m.state.Domain(name); ok {
		return fault(FaultConflict, "domain", name, "Domain with name '%s' already exists, owned by account '%s'", name, d.Owner)
	}
	m.tell(Entry{Domain: name, Cause: CauseControl, Note: "domain created"})
	return m.put(domainKey(name), Domain{Name: name, Owner: op.Owner, Created: m.cmd.At, EncryptionKey: op.EncryptionKey, Tags: op.Tags})
}

// DeleteDomain takes an empty domain away.
type DeleteDomain struct{}

func (op *DeleteDomain) apply(m *machine) error {
	d, err := m.domain()
	if err != nil {
		return err
	}
	if len(d.names) > 0 {
		return fault(FaultConflict, "domain", d.Name, "Domain '%s' cannot be deleted: it still contains %d repositories", d.Name, len(d.names))
	}
	if d.Declared {
		return declared("domain", d.Name)
	}
	for _, g := range d.groups {
		m.b.Delete(groupKey(d.Name, g.Pattern))
	}
	m.b.Delete(domainKey(d.Name))
	m.tell(Entry{Domain: d.Name, Cause: CauseControl, Note: "domain deleted"})
	return nil
}

// declared refuses to change through the API what a file says.
func declared(typ, name string) error {
	return fault(FaultConflict, typ, name, "%s '%s' is declared in this node's configuration file; change it there", typ, name)
}

// revision names a state of a document; it differs for the same text put later.
func revision(at time.Time, parts ...string) string {
	h := sha256.New()
	h.Write([]byte(at.Format(time.RFC3339Nano)))
	for _, p := range parts {
		h.Write([]byte{0})
		h.Write([]byte(p))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// newPolicy checks the expected revision against what is there.
func newPolicy(m *machine, old *Policy, typ, name, document, expect string) (*Policy, error) {
	if expect != "" && (old == nil || old.Revision != expect) {
		return nil, fault(FaultConflict, typ, name, "The policy of %s '%s' has another revision than the one that was given", typ, name)
	}
	if document == "" {
		if old == nil {
			return nil, fault(FaultNotFound, typ, name, "No policy is attached to %s '%s'", typ, name)
		}
		return nil, nil
	}
	return &Policy{Document: document, Revision: revision(m.cmd.At, document)}, nil
}

// PutDomainPolicy replaces the domain's policy, or with an empty document
// deletes it. The document was checked by whoever proposes it.
type PutDomainPolicy struct {
	Document string `cbor:"1,keyasint,omitempty"`
	Expect   string `cbor:"2,keyasint,omitempty"` // revision, "" any
}

func (op *PutDomainPolicy) apply(m *machine) error {
	d, err := m.domain()
	if err != nil {
		return err
	}
	row := *d.Domain
	if row.Policy, err = newPolicy(m, d.Policy, "domain", d.Name, op.Document, op.Expect); err != nil {
		return err
	}
	m.tell(Entry{Domain: d.Name, Cause: CauseControl, Note: "domain policy changed"})
	return m.put(domainKey(d.Name), row)
}

// SetTags adds tags to and takes tags from a domain, a repository or a package
// group of the command's domain.
type SetTags struct {
	Repository string            `cbor:"1,keyasint,omitempty"` // "" with no Group: the domain
	Group      string            `cbor:"2,keyasint,omitempty"` // pattern
	Add        map[string]string `cbor:"3,keyasint,omitempty"`
	Remove     []string          `cbor:"4,keyasint,omitempty"`
}

// MaxTags is how many tags a resource may have (API reference, "TagResource").
const MaxTags = 200

func (*SetTags) kind() string                  { return "set-tags" }
func (*SetTags) locks() (bool, string, string) { return true, "", "" }

func (op *SetTags) apply(m *machine) error {
	d, err := m.domain()
	if err != nil {
		return err
	}
	switch {
	case op.Group != "":
		row := Group{Pattern: op.Group, Created: d.Created}
		if g, ok := d.Group(op.Group); ok {
			row = *g
		} else if op.Group != RootGroup {
			return fault(FaultNotFound, "package-group", op.Group, "Package group not found. Package group: '%s'", op.Group)
		}
		if row.Tags, err = op.merge(row.Tags, "package-group", op.Group); err != nil {
			return err
		}
		return m.put(groupKey(d.Name, op.Group), row)
	case op.Repository != "":
		_, r, err := m.repository(op.Repository)
		if err != nil {
			return err
		}
		row := *r
		if row.Tags, err = op.merge(r.Tags, "repository", r.Name); err != nil {
			return err
		}
		return m.put(repositoryKey(d.Name, r.Name), row)
	}
	row := *d.Domain
	if row.Tags, err = op.merge(d.Tags, "domain", d.Name); err != nil {
		return err
	}
	return m.put(domainKey(d.Name), row)
}

func (op *SetTags) merge(old map[string]string, typ, name string) (map[string]string, error) {
	out := map[string]string{}
	for k, v := range old {
		if !slices.Contains(op.Remove, k) {
			out[k] = v
		}
	}
	for k, v := range op.Add {
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			return nil, fault(FaultValidation, typ, name, "tag key %q: the prefix aws: is reserved", k)
		}
		out[k] = v
	}
	if len(out) > MaxTags {
		return nil, fault(FaultQuota, typ, name, "%s '%s' would have %d tags; at most %d are allowed", typ, name, len(out), MaxTags)
	}
	return out, nil
}
