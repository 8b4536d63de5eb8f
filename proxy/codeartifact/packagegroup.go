package codeartifact

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"larder/cache/catalog"
	"larder/policy/origin"
)

// trees keeps the trees of package groups that belong to one State.
type trees struct {
	mu    sync.Mutex
	state *catalog.State
	of    map[string]*origin.Tree
}

// tree is the tree of a domain of the present state.
func (h *Handler) tree(d *catalog.DomainState) (*origin.Tree, error) {
	state := h.catalog.State()
	h.trees.mu.Lock()
	defer h.trees.mu.Unlock()
	if h.trees.state != state {
		h.trees.state, h.trees.of = state, map[string]*origin.Tree{}
	}
	now, ok := state.Domain(d.Name)
	if t := h.trees.of[d.Name]; ok && t != nil && now == d {
		return t, nil
	}
	t, err := newTree(d)
	if err == nil && now == d {
		h.trees.of[d.Name] = t
	}
	return t, err
}

func newTree(d *catalog.DomainState) (*origin.Tree, error) {
	var groups []origin.Group
	for _, g := range d.Groups() {
		out := origin.Group{Pattern: g.Pattern, Restrictions: map[origin.Type]origin.Mode{}, Allowed: map[origin.Type][]string{}}
		for typ, mode := range g.Restrictions {
			out.Restrictions[origin.Type(typ)] = origin.Mode(mode)
		}
		for typ, list := range g.Allowed {
			if g.Restrictions[typ] == string(origin.AllowSpecific) {
				out.Allowed[origin.Type(typ)] = list
			}
		}
		groups = append(groups, out)
	}
	return origin.New(groups)
}

// ofOrigin words an error of the origin package.
func ofOrigin(err error, pattern string) error {
	var e *origin.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case errors.Is(err, origin.ErrNotFound):
		return NotFound("package-group", pattern, "%s", e.Message)
	case errors.Is(err, origin.ErrConflict):
		return conflict("package-group", pattern, "%s", e.Message)
	}
	return Invalid(ReasonField, "1 validation error detected: Value at 'packageGroup' failed to satisfy constraint: %s", e.Message)
}

// pattern is the request's package group in its normal spelling.
func (c *call) pattern() (string, error) {
	p, err := origin.ParsePattern(c.args.text("packageGroup"))
	if err != nil {
		return "", ofOrigin(err, "")
	}
	return p.String(), nil
}

func (c *call) groupResource(pattern string) Resource {
	res := c.domainResource()
	res.Kind, res.Pattern = ResourceGroup, pattern
	return res
}

// onGroup asks the gate about the group and finds its domain and tree. The group
// need not be there.
func (c *call) onGroup() (d *catalog.DomainState, t *origin.Tree, pattern string, err error) {
	if pattern, err = c.pattern(); err != nil {
		return nil, nil, "", err
	}
	if err := c.may(c.groupResource(pattern)); err != nil {
		return nil, nil, "", err
	}
	if d, err = c.domain(); err != nil {
		return nil, nil, "", err
	}
	t, err = c.h.tree(d)
	return d, t, pattern, err
}

// group is onGroup for a group that must be there.
func (c *call) group() (d *catalog.DomainState, t *origin.Tree, pattern string, err error) {
	if d, t, pattern, err = c.onGroup(); err != nil {
		return nil, nil, "", err
	}
	if _, err := t.Group(pattern); err != nil {
		return nil, nil, "", ofOrigin(err, pattern)
	}
	return d, t, pattern, nil
}

func (h *Handler) reference(d *catalog.DomainState, pattern string) *groupReference {
	res := Resource{Kind: ResourceGroup, Owner: d.Owner, Domain: d.Name, Pattern: pattern}
	return &groupReference{res.ARN(h.cfg.Region), pattern}
}

// describeGroup puts the row, which has the texts, and the tree, which knows what
// the modes come to, together. The root has no row until it is edited.
func (h *Handler) describeGroup(d *catalog.DomainState, t *origin.Tree, pattern string) (groupDescription, error) {
	row, ok := d.Group(pattern)
	if !ok {
		row = &catalog.Group{Pattern: pattern, Created: d.Created}
	}
	out := groupDescription{ARN: h.reference(d, pattern).ARN, Pattern: pattern, DomainName: d.Name, DomainOwner: d.Owner, CreatedTime: at(row.Created),
		ContactInfo: row.Contact, Description: row.Description, OriginConfiguration: groupOrigin{map[string]groupRestriction{}}}
	for _, typ := range origin.Types() {
		set, err := t.Setting(pattern, typ)
		if err != nil {
			return out, ofOrigin(err, pattern)
		}
		r := groupRestriction{Mode: string(set.Mode), EffectiveMode: string(set.EffectiveMode)}
		if set.InheritedFrom != "" {
			r.InheritedFrom = h.reference(d, set.InheritedFrom)
		}
		if set.Mode == origin.AllowSpecific {
			n := len(set.Repositories)
			r.RepositoriesCount = &n
		}
		out.OriginConfiguration.Restrictions[string(typ)] = r
	}
	parent, ok, err := t.Parent(pattern)
	if err != nil {
		return out, ofOrigin(err, pattern)
	}
	if ok {
		out.Parent = h.reference(d, parent.Pattern)
	}
	return out, nil
}

// describedGroup answers with a group as it is now.
func (c *call) describedGroup(pattern string) (any, error) {
	g, err := c.groupNow(pattern)
	return groupAnswer{g}, err
}

func (c *call) groupNow(pattern string) (groupDescription, error) {
	d, err := c.domain()
	if err != nil {
		return groupDescription{}, err
	}
	t, err := c.h.tree(d)
	if err != nil {
		return groupDescription{}, err
	}
	return c.h.describeGroup(d, t, pattern)
}

// createGroup is granted on the domain, like createRepository.
func (c *call) createGroup() (any, error) {
	pattern, err := c.pattern()
	if err != nil {
		return nil, err
	}
	if err := c.may(c.domainResource()); err != nil {
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
	op := &catalog.PutGroup{Pattern: pattern, Create: true, Contact: c.args.pointer("contactInfo"), Description: c.args.pointer("description"), Tags: tags}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	return c.describedGroup(pattern)
}

func (c *call) describeGroup() (any, error) {
	d, t, pattern, err := c.group()
	if err != nil {
		return nil, err
	}
	g, err := c.h.describeGroup(d, t, pattern)
	return groupAnswer{g}, err
}

func (c *call) updateGroup() (any, error) {
	d, _, pattern, err := c.group()
	if err != nil {
		return nil, err
	}
	op := &catalog.PutGroup{Pattern: pattern, Contact: c.args.pointer("contactInfo"), Description: c.args.pointer("description")}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	return c.describedGroup(pattern)
}

func (c *call) deleteGroup() (any, error) {
	d, t, pattern, err := c.group()
	if err != nil {
		return nil, err
	}
	g, err := c.h.describeGroup(d, t, pattern)
	if err != nil {
		return nil, err
	}
	if _, err := c.propose(d.Name, &catalog.DeleteGroup{Pattern: pattern}); err != nil {
		return nil, err
	}
	return groupAnswer{g}, nil
}

// pageOfGroups answers with a page of groups, which are sorted by pattern.
func (c *call) pageOfGroups(d *catalog.DomainState, t *origin.Tree, groups []origin.Group) (any, error) {
	got, next, err := page(c, groups, defaultPage, func(g origin.Group) string { return g.Pattern })
	if err != nil {
		return nil, err
	}
	out := groupList{PackageGroups: []groupDescription{}, NextToken: next}
	for _, g := range got {
		desc, err := c.h.describeGroup(d, t, g.Pattern)
		if err != nil {
			return nil, err
		}
		out.PackageGroups = append(out.PackageGroups, desc)
	}
	return out, nil
}

func (c *call) listGroups() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	t, err := c.h.tree(d)
	if err != nil {
		return nil, err
	}
	prefix := c.args.text("prefix")
	groups := slices.DeleteFunc(slices.Clone(t.Groups()), func(g origin.Group) bool { return !strings.HasPrefix(g.Pattern, prefix) })
	return c.pageOfGroups(d, t, groups)
}

// listSubGroups lists the direct children.
func (c *call) listSubGroups() (any, error) {
	d, t, pattern, err := c.group()
	if err != nil {
		return nil, err
	}
	groups, err := t.Children(pattern)
	if err != nil {
		return nil, ofOrigin(err, pattern)
	}
	return c.pageOfGroups(d, t, groups)
}

// allowed reads a list of repositories with their restriction types.
func (c *call) allowed(member string) ([]origin.AllowedRepository, error) {
	var out []origin.AllowedRepository
	for _, e := range c.args.list(member) {
		entry := arguments(e.(map[string]any))
		if !entry.has("repositoryName") || !entry.has("originRestrictionType") {
			return nil, missing(member)
		}
		out = append(out, origin.AllowedRepository{Type: origin.Type(entry.text("originRestrictionType")), Repository: entry.text("repositoryName")})
	}
	return out, nil
}

// configureGroup changes modes and lists together. A list that goes with its mode
// is reported as removed.
func (c *call) configureGroup() (any, error) {
	change := origin.Change{Restrictions: map[origin.Type]origin.Mode{}}
	for typ, mode := range c.args.textMap("restrictions") {
		change.Restrictions[origin.Type(typ)] = origin.Mode(mode)
	}
	var err error
	if change.Add, err = c.allowed("addAllowedRepositories"); err != nil {
		return nil, err
	}
	if change.Remove, err = c.allowed("removeAllowedRepositories"); err != nil {
		return nil, err
	}
	c.h.groups.Lock()
	defer c.h.groups.Unlock()
	d, t, pattern, err := c.group()
	if err != nil {
		return nil, err
	}
	_, updates, err := t.Configure(pattern, change, func(name string) bool { _, ok := d.Repository(name); return ok })
	if err != nil {
		return nil, ofOrigin(err, pattern)
	}
	op := &catalog.PutGroup{Pattern: pattern, Restrictions: c.args.textMap("restrictions"), Allow: map[string][]string{}, Disallow: map[string][]string{}}
	told := map[string]map[string][]string{}
	for typ, u := range updates {
		op.Allow[string(typ)], op.Disallow[string(typ)] = u.Added, u.Removed
		lists := map[string][]string{"ADDED": u.Added, "REMOVED": u.Removed}
		maps.DeleteFunc(lists, func(_ string, l []string) bool { return len(l) == 0 })
		told[string(typ)] = lists
	}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	g, err := c.groupNow(pattern)
	return configuredGroup{g, told}, err
}

func (c *call) listAllowed() (any, error) {
	_, t, pattern, err := c.group()
	if err != nil {
		return nil, err
	}
	set, err := t.Setting(pattern, origin.Type(c.args.text("originRestrictionType")))
	if err != nil {
		return nil, ofOrigin(err, pattern)
	}
	got, next, err := page(c, set.Repositories, defaultPage, func(r string) string { return r })
	return allowedRepositories{append([]string{}, got...), next}, err
}
