package codeartifact

import (
	"slices"
	"strings"

	"larder/cache/catalog"
)

// repositoryResource is the resource of the repository that a member names.
func (c *call) repositoryResource(member string) Resource {
	return Resource{Kind: ResourceRepository, Owner: c.owner(), Domain: c.args.text("domain"), Repository: c.args.text(member)}
}

// repository finds the repository that a member names.
func (c *call) repository(member string) (*catalog.DomainState, *catalog.RepositoryRow, error) {
	d, err := c.domain()
	if err != nil {
		return nil, nil, err
	}
	name := c.args.text(member)
	r, ok := d.Repository(name)
	if !ok {
		return nil, nil, NotFound("repository", name, "Repository not found. Repository: '%s', domain: '%s'", name, d.Name)
	}
	return d, r, nil
}

// onRepository asks the gate about the repository and finds it.
func (c *call) onRepository() (*catalog.DomainState, *catalog.RepositoryRow, error) {
	if err := c.may(c.repositoryResource("repository")); err != nil {
		return nil, nil, err
	}
	return c.repository("repository")
}

func (h *Handler) summarizeRepository(d *catalog.DomainState, r *catalog.RepositoryRow) repositorySummary {
	return repositorySummary{Name: r.Name, AdministratorAccount: r.Administrator, DomainName: d.Name, DomainOwner: d.Owner,
		ARN:         Resource{Kind: ResourceRepository, Owner: d.Owner, Domain: d.Name, Repository: r.Name}.ARN(h.cfg.Region),
		Description: r.Description, CreatedTime: at(r.Created)}
}

func (h *Handler) describeRepository(d *catalog.DomainState, r *catalog.RepositoryRow) repositoryAnswer {
	out := repositoryDescription{repositorySummary: h.summarizeRepository(d, r), Upstreams: []upstreamInfo{}, ExternalConnections: []connectionInfo{}}
	for _, u := range r.Upstreams {
		out.Upstreams = append(out.Upstreams, upstreamInfo{u})
	}
	if r.Connection != "" {
		format, _ := h.connectionFormat(r.Connection)
		// The model's enum says Available, what AWS sends is AVAILABLE.
		out.ExternalConnections = append(out.ExternalConnections, connectionInfo{r.Connection, format, "AVAILABLE"})
	}
	return repositoryAnswer{out}
}

// connectionFormat is the format of an external connection that is known.
func (h *Handler) connectionFormat(name string) (string, bool) {
	if f := catalog.ConnectionFormat(name); f != "" {
		return f, true
	}
	f, ok := h.cfg.Connections()[name]
	return f, ok
}

// described answers with a repository as it is now.
func (c *call) described() (any, error) {
	d, r, err := c.repository("repository")
	if err != nil {
		return nil, err
	}
	return c.h.describeRepository(d, r), nil
}

// upstreams are the repositories that the request names as upstreams.
func (c *call) upstreams() []string {
	out := []string{}
	for _, u := range c.args.list("upstreams") {
		out = append(out, arguments(u.(map[string]any)).text("repositoryName"))
	}
	return out
}

// mayLink asks whether the caller may make a repository read from others.
func (c *call) mayLink(upstreams, known []string) error {
	for _, u := range upstreams {
		if slices.Contains(known, u) {
			continue
		}
		res := c.repositoryResource("repository")
		res.Repository = u
		if err := c.ask(Ask{Action: "codeartifact:AssociateWithDownstreamRepository", Resource: res}); err != nil {
			return err
		}
	}
	return nil
}

// createRepository is granted on the domain (user guide, "domain policies").
func (c *call) createRepository() (any, error) {
	if err := c.may(c.domainResource()); err != nil {
		return nil, err
	}
	ups := c.upstreams()
	if err := c.mayLink(ups, nil); err != nil {
		return nil, err
	}
	d, err := c.domain()
	if err != nil {
		return nil, err
	}
	tags, err := c.tags()
	if err != nil {
		return nil, err
	}
	op := &catalog.CreateRepository{Name: c.args.text("repository"), Administrator: c.caller.Account, Description: c.args.text("description"), Upstreams: ups, Tags: tags}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	return c.described()
}

func (c *call) describeRepository() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	return c.h.describeRepository(d, r), nil
}

// updateRepository replaces the list of upstreams where the request has one, and
// keeps it where it has none.
func (c *call) updateRepository() (any, error) {
	if err := c.may(c.repositoryResource("repository")); err != nil {
		return nil, err
	}
	var known []string
	d, r, missing := c.repository("repository")
	if missing == nil {
		known = r.Upstreams
	}
	op := &catalog.UpdateRepository{Name: c.args.text("repository"), Description: c.args.pointer("description")}
	if c.args.has("upstreams") {
		ups := c.upstreams()
		op.Upstreams = &ups
		if err := c.mayLink(ups, known); err != nil {
			return nil, err
		}
	}
	if missing != nil {
		return nil, missing
	}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	return c.described()
}

func (c *call) deleteRepository() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	if _, err := c.propose(d.Name, &catalog.DeleteRepository{Name: r.Name}); err != nil {
		return nil, err
	}
	return c.h.describeRepository(d, r), nil
}

func (c *call) associate() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	name := c.args.text("externalConnection")
	if _, ok := c.h.connectionFormat(name); !ok {
		return nil, refused("externalConnection", name, "Member must be the name of an external connection")
	}
	if !c.h.cfg.Associable(name) {
		return nil, Denied("External connection '%s' has a credential of this node's configuration and is not shared; set shared = true there", name)
	}
	if _, err := c.propose(d.Name, &catalog.SetConnection{Repository: r.Name, Connection: name}); err != nil {
		return nil, err
	}
	return c.described()
}

func (c *call) disassociate() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	name := c.args.text("externalConnection")
	if _, ok := c.h.connectionFormat(name); !ok && r.Connection != name {
		return nil, refused("externalConnection", name, "Member must be the name of an external connection")
	}
	if _, err := c.propose(d.Name, &catalog.SetConnection{Repository: r.Name, Old: name}); err != nil {
		return nil, err
	}
	return c.described()
}

// listed are a domain's repositories that the request's filters let through,
// sorted by name.
func (c *call) listed(d *catalog.DomainState) []repositorySummary {
	prefix, admin := c.args.text("repositoryPrefix"), c.args.text("administratorAccount")
	out := []repositorySummary{}
	for _, name := range d.Repositories() {
		r, ok := d.Repository(name)
		if ok && strings.HasPrefix(name, prefix) && (admin == "" || r.Administrator == admin) {
			out = append(out, c.h.summarizeRepository(d, r))
		}
	}
	return out
}

// listRepositories lists the repositories of all domains of the caller's
// account.
func (c *call) listRepositories() (any, error) {
	if err := c.may(Resource{}); err != nil {
		return nil, err
	}
	state := c.h.catalog.State()
	all := []repositorySummary{}
	for _, name := range state.Domains() {
		if d, ok := state.Domain(name); ok && d.Owner == c.caller.Account {
			all = append(all, c.listed(d)...)
		}
	}
	out, next, err := page(c, all, defaultPage, func(r repositorySummary) string { return r.DomainName + "\x00" + r.Name })
	return repositoryList{out, next}, err
}

func (c *call) listRepositoriesInDomain() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	out, next, err := page(c, c.listed(d), defaultPage, func(r repositorySummary) string { return r.Name })
	return repositoryList{out, next}, err
}

// getEndpoint answers in the form that AWS uses where one host serves all
// domains (user guide, "use CodeArtifact from a VPC"), whatever the type: this
// node has one address. Clients need the slash at its end.
func (c *call) getEndpoint() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(c.h.cfg.Endpoint(c.r), "/")
	return endpointAnswer{base + "/" + c.args.text("format") + "/d/" + d.Name + "-" + d.Owner + "/" + r.Name + "/"}, nil
}
