package codeartifact

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"larder/cache/catalog"
	"larder/policy/origin"
)

// tags are the tags that the request gives; nil without any.
func (c *call) tags() (map[string]string, error) {
	list := c.args.list("tags")
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, t := range list {
		pair := arguments(t.(map[string]any))
		k := pair.text("key")
		if _, twice := out[k]; twice {
			return nil, refused("tags", k, "Member must have every key once")
		}
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			return nil, refused("tags", k, "Member must not begin with aws:, which is reserved")
		}
		out[k] = pair.text("value")
	}
	return out, nil
}

// requestTags is what conditions on aws:RequestTag see, tagKeys what those on
// aws:TagKeys see.
func (c *call) requestTags() map[string]string {
	out := map[string]string{}
	for _, t := range c.args.list("tags") {
		pair := arguments(t.(map[string]any))
		out[pair.text("key")] = pair.text("value")
	}
	return out
}

func (c *call) tagKeys() []string {
	return append(slices.Sorted(maps.Keys(c.requestTags())), c.args.texts("tagKeys")...)
}

// ParseARN reads the ARN of a domain, a repository or a package group, the
// resources that have tags. The region and the partition may be any. Patterns
// may be percent-encoded.
func ParseARN(s string) (Resource, error) {
	bad := refused("resourceArn", s, "Member must be the ARN of a domain, a repository or a package group")
	part := strings.SplitN(s, ":", 6)
	if len(part) != 6 || part[0] != "arn" || !strings.HasPrefix(part[1], "aws") || part[2] != "codeartifact" || accountID.violates(part[4]) != "" {
		return Resource{}, bad
	}
	kind, rest, _ := strings.Cut(part[5], "/")
	name, below, deeper := strings.Cut(rest, "/")
	res := Resource{Kind: Kind(kind), Owner: part[4], Domain: name}
	switch {
	case domainName.violates(name) != "":
		return Resource{}, bad
	case res.Kind == ResourceDomain && !deeper:
		return res, nil
	case res.Kind == ResourceRepository && repositoryName.violates(below) == "":
		res.Repository = below
		return res, nil
	case res.Kind == ResourceGroup && deeper:
		pattern := "/" + below
		if plain, err := url.PathUnescape(pattern); err == nil {
			pattern = plain
		}
		p, err := origin.ParsePattern(pattern)
		if err != nil || groupName.violates(pattern) != "" {
			return Resource{}, bad
		}
		res.Pattern = p.String()
		return res, nil
	}
	return Resource{}, bad
}

// tagged asks the gate about the resource of an ARN and finds its tags.
func (c *call) tagged() (Resource, map[string]string, error) {
	res, err := ParseARN(c.args.text("resourceArn"))
	if err != nil {
		return res, nil, err
	}
	if err := c.may(res); err != nil {
		return res, nil, err
	}
	d, err := c.h.domain(res.Domain, res.Owner)
	if err != nil {
		return res, nil, err
	}
	switch res.Kind {
	case ResourceRepository:
		r, ok := d.Repository(res.Repository)
		if !ok {
			return res, nil, NotFound("repository", res.Repository, "Repository not found. Repository: '%s', domain: '%s'", res.Repository, d.Name)
		}
		return res, r.Tags, nil
	case ResourceGroup:
		g, ok := d.Group(res.Pattern)
		switch {
		case ok:
			return res, g.Tags, nil
		case res.Pattern == catalog.RootGroup:
			return res, nil, nil
		}
		return res, nil, NotFound("package-group", res.Pattern, "Package group not found. Package group: '%s', domain: '%s'", res.Pattern, d.Name)
	}
	return res, d.Tags, nil
}

func (c *call) tagResource() (any, error) {
	add, err := c.tags()
	if err != nil {
		return nil, err
	}
	res, _, err := c.tagged()
	if err != nil || len(add) == 0 {
		return emptyAnswer{}, err
	}
	_, err = c.propose(res.Domain, &catalog.SetTags{Repository: res.Repository, Group: res.Pattern, Add: add})
	return emptyAnswer{}, err
}

func (c *call) untagResource() (any, error) {
	res, _, err := c.tagged()
	keys := c.args.texts("tagKeys")
	if err != nil || len(keys) == 0 {
		return emptyAnswer{}, err
	}
	_, err = c.propose(res.Domain, &catalog.SetTags{Repository: res.Repository, Group: res.Pattern, Remove: keys})
	return emptyAnswer{}, err
}

func (c *call) listTags() (any, error) {
	_, tags, err := c.tagged()
	if err != nil {
		return nil, err
	}
	out := tagsAnswer{[]tag{}}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Tags = append(out.Tags, tag{k, tags[k]})
	}
	return out, nil
}
