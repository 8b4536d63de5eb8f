package codeartifact

import (
	"larder/cache/catalog"
)

// ofPolicy words a resource's policy; a resource without one has none to find.
func (c *call) ofPolicy(p *catalog.Policy, res Resource) (any, error) {
	if p == nil {
		id := res.Domain
		if res.Kind == ResourceRepository {
			id = res.Repository
		}
		return nil, NotFound(string(res.Kind), id, "No policy is attached to %s '%s'", res.Kind, id)
	}
	return policyAnswer{resourcePolicy{res.ARN(c.h.cfg.Region), p.Revision, p.Document}}, nil
}

func (c *call) putDomainPolicy() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	doc := c.args.text("policyDocument")
	if err := c.h.gate.CheckPolicy(doc, ResourceDomain); err != nil {
		return nil, err
	}
	if _, err := c.propose(d.Name, &catalog.PutDomainPolicy{Document: doc, Expect: c.args.text("policyRevision")}); err != nil {
		return nil, err
	}
	if d, err = c.domain(); err != nil {
		return nil, err
	}
	return c.ofPolicy(d.Policy, c.domainResource())
}

func (c *call) getDomainPolicy() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	return c.ofPolicy(d.Policy, c.domainResource())
}

func (c *call) deleteDomainPolicy() (any, error) {
	d, err := c.onDomain()
	if err != nil {
		return nil, err
	}
	if _, err := c.propose(d.Name, &catalog.PutDomainPolicy{Expect: c.args.text("policyRevision")}); err != nil {
		return nil, err
	}
	return c.ofPolicy(d.Policy, c.domainResource())
}

func (c *call) putRepositoryPolicy() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	doc := c.args.text("policyDocument")
	if err := c.h.gate.CheckPolicy(doc, ResourceRepository); err != nil {
		return nil, err
	}
	op := &catalog.PutRepositoryPolicy{Repository: r.Name, Document: doc, Expect: c.args.text("policyRevision")}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	if _, r, err = c.repository("repository"); err != nil {
		return nil, err
	}
	return c.ofPolicy(r.Policy, c.repositoryResource("repository"))
}

func (c *call) getRepositoryPolicy() (any, error) {
	_, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	return c.ofPolicy(r.Policy, c.repositoryResource("repository"))
}

func (c *call) deleteRepositoryPolicy() (any, error) {
	d, r, err := c.onRepository()
	if err != nil {
		return nil, err
	}
	op := &catalog.PutRepositoryPolicy{Repository: r.Name, Expect: c.args.text("policyRevision")}
	if _, err := c.propose(d.Name, op); err != nil {
		return nil, err
	}
	return c.ofPolicy(r.Policy, c.repositoryResource("repository"))
}
