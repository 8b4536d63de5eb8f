package codeartifact

import (
	"context"
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"larder/cache/catalog"
)

// owner is the account whose domain the request means: the caller's own unless
// it says otherwise.
func (c *call) owner() string {
	if o := c.args.text("domainOwner"); o != "" {
		return o
	}
	return c.caller.Account
}

// domainResource is the resource of the request's domain.
func (c *call) domainResource() Resource {
	return Resource{Kind: ResourceDomain, Owner: c.owner(), Domain: c.args.text("domain")}
}

// may asks the gate whether the caller may do what the operation is called for.
func (c *call) may(res Resource) error { return c.mayDo(c.op.name, res) }

func (c *call) mayDo(action string, res Resource) error {
	return c.ask(Ask{Action: "codeartifact:" + action, Resource: res, RequestTags: c.requestTags(), TagKeys: c.tagKeys()})
}

func (c *call) ask(ask Ask) error {
	ask.Resource.Tags = c.h.tagsOf(ask.Resource)
	return c.h.gate.Allow(c.r.Context(), c.caller, ask)
}

// tagsOf are the tags of a resource that exists.
func (h *Handler) tagsOf(res Resource) map[string]string {
	d, ok := h.catalog.State().Domain(res.Domain)
	if !ok || d.Owner != res.Owner {
		return nil
	}
	switch res.Kind {
	case ResourceDomain:
		return d.Tags
	case ResourceRepository:
		if r, ok := d.Repository(res.Repository); ok {
			return r.Tags
		}
	case ResourceGroup:
		if g, ok := d.Group(res.Pattern); ok {
			return g.Tags
		}
	}
	return nil
}

// domain finds the request's domain. One of another owner is not there.
func (c *call) domain() (*catalog.DomainState, error) {
	return c.h.domain(c.args.text("domain"), c.owner())
}

func (h *Handler) domain(name, owner string) (*catalog.DomainState, error) {
	d, ok := h.catalog.State().Domain(name)
	if !ok || d.Owner != owner {
		return nil, NotFound("domain", name, "Domain not found. Domain: '%s', owner: '%s'", name, owner)
	}
	return d, nil
}

// onDomain asks the gate about the domain and finds it.
func (c *call) onDomain() (*catalog.DomainState, error) {
	if err := c.may(c.domainResource()); err != nil {
		return nil, err
	}
	return c.domain()
}

// propose changes a domain in the caller's name.
func (c *call) propose(domain string, op catalog.Op) (*catalog.Result, error) {
	return c.h.catalog.Propose(domain, c.caller.ARN, op)
}

// keyARN is the key of a domain: what its creator named, or a name of the
// account's own key, which is the same for all of its domains.
func (h *Handler) keyARN(key, owner string) string {
	prefix := "arn:aws:kms:" + h.cfg.Region + ":" + owner + ":"
	switch {
	case strings.HasPrefix(key, "arn:"):
		return key
	case strings.HasPrefix(key, "alias/"):
		return prefix + key
	case key != "":
		return prefix + "key/" + key
	}
	sum := sha256.Sum256([]byte("codeartifact key of " + owner + " in " + h.cfg.Region))
	return prefix + "key/" + uuid([16]byte(sum[:16]))
}

// summarizeDomain is the form that stands in lists.
func (h *Handler) summarizeDomain(d *catalog.Domain) domainDescription {
	return domainDescription{Name: d.Name, Owner: d.Owner, ARN: Resource{Kind: ResourceDomain, Owner: d.Owner, Domain: d.Name}.ARN(h.cfg.Region),
		Status: "Active", CreatedTime: at(d.Created), EncryptionKey: h.keyARN(d.EncryptionKey, d.Owner)}
}

func (h *Handler) describeDomain(d *catalog.DomainState) (domainAnswer, error) {
	size, err := h.catalog.DomainSize(d.Name)
	if err != nil {
		return domainAnswer{}, err
	}
	out := h.summarizeDomain(d.Domain)
	count := len(d.Repositories())
	out.RepositoryCount, out.AssetSizeBytes = &count, &size
	return domainAnswer{out}, nil
}

func (c *call) createDomain() (any, error) {
	if err := c.may(c.domainResource()); err != nil {
		return nil, err
	}
	key := c.args.text("encryptionKey")
	if strings.HasPrefix(key, "arn:") && !strings.Contains(key, ":kms:") {
		return nil, Invalid(ReasonKey, "The encryption key '%s' is not a key of AWS KMS", shorten(key))
	}
	tags, err := c.tags()
	if err != nil {
		return nil, err
	}
	name := c.args.text("domain")
	if _, err := c.propose(name, &catalog.CreateDomain{Owner: c.caller.Account, EncryptionKey: key, Tags: tags}); err != nil {
		return nil, err
	}
	d, err := c.domain()
	if err != nil {
		return nil, err
	}
	return c.h.describeDomain(d)
}

func (c *call) describeDomain() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	return c.h.describeDomain(d)
}

// deleteDomain answers what the domain was; its status still says Active (user
// guide, "delete a domain").
func (c *call) deleteDomain() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	answer, err := c.h.describeDomain(d)
	if err != nil {
		return nil, err
	}
	if _, err := c.propose(d.Name, &catalog.DeleteDomain{}); err != nil {
		return nil, err
	}
	return answer, nil
}

// listDomains lists the domains that the caller's account owns.
func (c *call) listDomains() (any, error) {
	if err := c.may(Resource{}); err != nil {
		return nil, err
	}
	state := c.h.catalog.State()
	all := []domainDescription{}
	for _, name := range state.Domains() {
		if d, ok := state.Domain(name); ok && d.Owner == c.caller.Account {
			all = append(all, c.h.summarizeDomain(d.Domain))
		}
	}
	out, next, err := page(c, all, defaultPage, func(d domainDescription) string { return d.Name })
	return domainList{out, next}, err
}

// getToken makes a bearer token for all repositories of the domain. A duration
// of 0 is the rest of the caller's session; one of 1 to 899 s is refused (user
// guide, "tokens created with the GetAuthorizationToken API").
func (c *call) getToken() (any, error) {
	seconds, given := c.args.number("durationSeconds"), c.args.has("durationSeconds")
	if seconds > 0 && seconds < 900 {
		return nil, refused("durationSeconds", strconv.Itoa(seconds), "Member must be 0 or have value greater than or equal to 900")
	}
	if err := c.may(c.domainResource()); err != nil {
		return nil, err
	}
	ask := Ask{Action: "sts:GetServiceBearerToken", Context: map[string]string{"sts:AWSServiceName": "codeartifact.amazonaws.com"}}
	if given {
		ask.Context["sts:DurationSeconds"] = strconv.Itoa(seconds)
	} else {
		ask.Context["sts:DurationSeconds"] = "43200"
	}
	if err := c.ask(ask); err != nil {
		return nil, err
	}
	d, err := c.domain()
	if err != nil {
		return nil, err
	}
	return c.issue(c.r.Context(), d, seconds, given)
}

func (c *call) issue(ctx context.Context, d *catalog.DomainState, seconds int, given bool) (any, error) {
	token, expires, err := c.h.gate.Token(ctx, c.caller, d.Name, d.Owner, seconds, given)
	if err != nil {
		return nil, err
	}
	return tokenAnswer{token, at(expires.Truncate(time.Millisecond))}, nil
}
