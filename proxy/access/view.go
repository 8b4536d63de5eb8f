package access

import (
	"fmt"
	"slices"
	"sync"

	"larder/cache/catalog"
	"larder/policy"
	"larder/proxy/identity"
)

// view is everything that decisions depend on, as it is at one moment. A new one
// replaces it when the control rows or the configuration change, and with it go
// all cached callers and decisions.
type view struct {
	settings  *settings
	state     *catalog.State
	region    string
	resources *policy.Set // documents of all domains and repositories
	anonymous *Caller
	callers   callerCache

	grants map[string][]policy.Attached // account and user -> documents of their access keys
}

// Refresh makes what follows from new control rows. It must be called with every
// State before the command that made it is answered.
func (g *Gate) Refresh(state *catalog.State) error {
	g.building.Lock()
	defer g.building.Unlock()
	if was := g.view.Load(); was != nil && was.state.Seq > state.Seq {
		state = was.state // a command was faster than a reload
	}
	// Revocations come first: they hold though a document cannot be read.
	var entries []identity.Revocation
	err := g.cfg.Catalog.Revocations(func(r catalog.Revocation) error {
		entries = append(entries, identity.Revocation{Kind: identity.RevocationKind(r.Kind), ID: r.Value, At: r.At.Unix()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	if _, err := g.revoked.Merge(g.cfg.Now(), entries...); err != nil {
		return fmt.Errorf("merge revocations: %w", err)
	}
	v := &view{settings: g.settings.Load(), state: state, region: g.cfg.Region, grants: map[string][]policy.Attached{}}
	if err := v.readResources(); err != nil {
		return err
	}
	err = g.cfg.Catalog.Credentials(func(row *catalog.Credential) error {
		if row.Kind != catalog.AccessKey || !g.live(row) {
			return nil
		}
		docs, err := v.granted(row)
		if err != nil {
			return err
		}
		key := row.Account + "/" + row.User
		v.grants[key] = append(v.grants[key], docs...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	v.anonymous = &Caller{Anonymous: true, Name: "anonymous", view: v, reads: &readCache{}}
	if v.anonymous.Documents, err = policy.NewSet(); err != nil {
		return err
	}
	g.view.Store(v)
	return nil
}

// readResources compiles the policies of domains and repositories. They were
// checked when they were put.
func (v *view) readResources() error {
	var docs []policy.Attached
	for _, name := range v.state.Domains() {
		d, _ := v.state.Domain(name)
		if d.Policy != nil {
			doc, err := policy.Parse([]byte(d.Policy.Document), policy.DomainDocument)
			if err != nil {
				return fmt.Errorf("policy of domain %s: %w", name, err)
			}
			docs = append(docs, policy.Attached{Document: doc, To: policy.ARN{Kind: policy.DomainARN, Region: v.region, Owner: d.Owner, Domain: name}})
		}
		for _, repo := range d.Repositories() {
			r, _ := d.Repository(repo)
			if r.Policy == nil {
				continue
			}
			doc, err := policy.Parse([]byte(r.Policy.Document), policy.RepositoryDocument)
			if err != nil {
				return fmt.Errorf("policy of repository %s/%s: %w", name, repo, err)
			}
			docs = append(docs, policy.Attached{Document: doc, To: policy.ARN{Kind: policy.RepositoryARN, Region: v.region, Owner: d.Owner, Domain: name, Repository: repo}})
		}
	}
	var err error
	v.resources, err = policy.NewSet(docs...)
	return err
}

// named are identity documents of the configuration.
func (v *view) named(names []string) []policy.Attached {
	var out []policy.Attached
	for _, n := range names {
		if d := v.settings.documents[n]; d != nil {
			out = append(out, policy.Attached{Document: d, Name: n})
		}
	}
	return out
}

// granted are the documents that come with a credential: names of the
// configuration's, or the documents themselves.
func (v *view) granted(row *catalog.Credential) ([]policy.Attached, error) {
	var out []policy.Attached
	if row.Admin {
		out = v.named([]string{Administrator})
	}
	for i, p := range row.Policies {
		if d := v.settings.documents[p]; d != nil {
			out = append(out, policy.Attached{Document: d, Name: p})
			continue
		}
		if p == "" || p[0] != '{' {
			// A policy that was taken out of the configuration grants nothing.
			continue
		}
		d, err := policy.Parse([]byte(p), policy.IdentityDocument)
		if err != nil {
			return nil, fmt.Errorf("policy %d of credential %s: %w", i+1, row.ID, err)
		}
		out = append(out, policy.Attached{Document: d, Name: fmt.Sprintf("%s#%d", row.ID, i+1)})
	}
	return out, nil
}

// userDocuments are the identity documents of a user.
func (v *view) userDocuments(account, name string) []policy.Attached {
	key := account + "/" + name
	docs := slices.Clone(v.grants[key])
	if u := v.settings.users[key]; u != nil {
		docs = append(docs, v.named(u.Policies)...)
	}
	return docs
}

// byPrincipal makes the caller of a verified principal.
func (v *view) byPrincipal(p identity.Principal) (*Caller, error) {
	if p.Kind == identity.KindRole {
		var docs []policy.Attached
		if r := v.settings.roles[p.Role]; r != nil {
			docs = v.named(r.Policies)
		}
		return v.caller(p, docs)
	}
	return v.caller(p, v.userDocuments(p.Account, p.Name))
}

func (v *view) caller(p identity.Principal, docs []policy.Attached) (*Caller, error) {
	set, err := policy.NewSet(docs...)
	if err != nil {
		return nil, fmt.Errorf("compile policies of %s: %w", p.Name, err)
	}
	c := &Caller{Name: p.Name, Documents: set, Principal: p}
	c.Caller = policy.Caller{ARN: p.ARN, Account: p.Account, UserID: p.UserID()}
	if p.Kind == identity.KindRole {
		c.RoleARN = p.Role
	} else {
		c.UserName = p.Name
	}
	return c, nil
}

// maxCallers bounds how many credentials are remembered between two changes.
const maxCallers = 8192

// callerCache remembers verified secrets. Secrets are the keys of a map that is
// seeded at random, so the time of a look tells nothing about them.
type callerCache struct {
	mu sync.RWMutex
	m  map[string]*Caller
}

func (c *callerCache) get(secret string) *Caller {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.m[secret]
}

func (c *callerCache) put(secret string, who *Caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxCallers {
		c.m = make(map[string]*Caller)
	}
	c.m[secret] = who
}
