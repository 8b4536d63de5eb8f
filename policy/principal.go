package policy

import (
	"slices"
	"strings"
)

// Tag is a key and a value, as on principals, requests and resources.
type Tag struct{ Key, Value string }

// Caller is an authenticated principal in IAM's terms. Empty fields are
// attributes it does not have; conditions and variables see them as absent.
type Caller struct {
	ARN      string // user, role session (assumed-role) or account root
	Account  string // 12 digits; empty denies, as another account would
	UserName string // aws:username; only users have one
	UserID   string // aws:userid
	RoleARN  string // of a role session: the role's ARN
	OrgID    string // aws:PrincipalOrgID
	Tags     []Tag  // aws:PrincipalTag/K
}

// principalARN is aws:PrincipalArn: for a role session the role's.
func (c *Caller) principalARN() string {
	if c.RoleARN != "" {
		return c.RoleARN
	}
	return c.ARN
}

func (c *Caller) variable(p *part) string {
	if c == nil {
		return ""
	}
	switch p.v {
	case varUserName:
		return c.UserName
	case varUserID:
		return c.UserID
	case varPrincipalARN:
		return c.principalARN()
	case varPrincipalAccount:
		return c.Account
	case varPrincipalTag:
		v, _ := findTag(c.Tags, p.text)
		return v
	}
	return ""
}

// findTag looks a key up, first as it is written and then in any case: the
// names of condition keys have no case in IAM.
func findTag(tags []Tag, key string) (string, bool) {
	for i := range tags {
		if tags[i].Key == key {
			return tags[i].Value, true
		}
	}
	for i := range tags {
		if strings.EqualFold(tags[i].Key, key) {
			return tags[i].Value, true
		}
	}
	return "", false
}

// principals is a statement's Principal or NotPrincipal.
type principals struct {
	any   bool     // "*"
	not   bool     // NotPrincipal
	names []string // accounts and ARNs, sorted; an account's root is its id
}

// match reports whether the statement speaks about c. An account stands for
// everyone in it, a role for its sessions.
func (p *principals) match(c *Caller) bool {
	return p.any || p.lists(c.Account) || p.lists(c.ARN) || p.lists(c.RoleARN)
}

func (p *principals) lists(name string) bool {
	if name == "" {
		return false
	}
	_, ok := slices.BinarySearch(p.names, name)
	return ok
}

// speaksTo is match, turned round for NotPrincipal.
func (p *principals) speaksTo(c *Caller) bool { return p.match(c) != p.not }

func (p *parser) readPrincipals(v *value, deny bool) (out principals, err error) {
	list, at, not, err := p.either(v, "Principal")
	if err != nil {
		return out, err
	}
	if not && !deny {
		return out, p.fail(at, `not allowed with "Effect": "Allow": it would admit everyone else in the world; write Principal`)
	}
	out.not = not
	const want = `must be "*" or {"AWS": an account, an ARN or a list of them}`
	switch {
	case list.kind == stringValue && list.text == "*":
		out.any = true
	case list.kind != objectValue:
		return out, p.fail(at, want)
	default:
		if err := p.object(at, list, "AWS"); err != nil {
			return out, err
		}
		if len(list.members) == 0 {
			return out, p.fail(at, "is empty; "+want)
		}
		names, err := p.list(at+".AWS", &list.members[0].value)
		if err != nil {
			return out, err
		}
		for _, name := range names {
			switch canon, ok := canonicalPrincipal(name); {
			case name == "*":
				out.any = true
			case !ok:
				return out, p.fail(at+".AWS", `%q must be "*", an account of 12 digits, arn:aws:iam::ACCOUNT:root, :user/NAME or :role/NAME, or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION, without wildcards`, clip(name))
			default:
				out.names = append(out.names, canon)
			}
		}
	}
	if not && out.any {
		return out, p.fail(at, `"*" leaves nobody; the statement would say nothing`)
	}
	slices.Sort(out.names)
	out.names = slices.Compact(out.names)
	return out, nil
}

// canonicalPrincipal checks a principal and writes an account's root as its id.
func canonicalPrincipal(s string) (string, bool) {
	if isAccount(s) {
		return s, true
	}
	f := strings.Split(s, ":")
	if len(f) != 6 || f[0] != "arn" || f[1] != "aws" || f[3] != "" || !isAccount(f[4]) {
		return "", false
	}
	for _, r := range f[5] {
		if r <= ' ' || r > '~' || strings.ContainsRune("*?${}\"\\", r) {
			return "", false
		}
	}
	path := strings.Split(f[5], "/")
	if slices.Contains(path[1:], "") {
		return "", false
	}
	switch {
	case f[2] == "iam" && f[5] == "root":
		return f[4], true
	case f[2] == "iam" && (path[0] == "user" || path[0] == "role") && len(path) >= 2:
		return s, true
	case f[2] == "sts" && path[0] == "assumed-role" && len(path) == 3:
		return s, true
	}
	return "", false
}
