package policy

import (
	"fmt"
	"strings"
)

// ARNKind says what an ARN names.
type ARNKind uint8

// The kinds. The zero value names no resource: the question of actions such as
// ListDomains, which only statements with Resource "*" answer.
const (
	NoResource ARNKind = iota
	DomainARN
	RepositoryARN
	PackageARN
	PackageGroupARN
	ForeignARN // a resource of another service, such as a role
)

// ARN names a resource in parts, so that a request builds no string. Owner is
// the account of the domain's owner, 12 digits, also where another account
// administers the repository. Fields that its kind does not use stay empty.
type ARN struct {
	Kind       ARNKind
	Region     string
	Owner      string
	Domain     string
	Repository string // of repositories and packages
	Format     string // of packages
	Namespace  string // of packages; an npm scope without its @; may be empty
	Name       string // of packages: the name; of package groups: the pattern with its leading slash; foreign: the whole ARN
}

const arnPrefix = "arn:aws:codeartifact:"

// AppendARN appends the ARN as documents write it (service authorization
// reference), "*" for no resource. It allocates only where b is too short.
func (a *ARN) AppendARN(b []byte) []byte {
	switch a.Kind {
	case NoResource:
		return append(b, '*')
	case ForeignARN:
		return append(b, a.Name...)
	}
	b = append(b, arnPrefix...)
	b = append(b, a.Region...)
	b = append(b, ':')
	b = append(b, a.Owner...)
	b = append(b, ':')
	switch a.Kind {
	case DomainARN:
		b = append(b, "domain/"...)
		return append(b, a.Domain...)
	case RepositoryARN:
		b = append(b, "repository/"...)
	case PackageARN:
		b = append(b, "package/"...)
	case PackageGroupARN:
		b = append(b, "package-group/"...)
		b = append(b, a.Domain...)
		return append(b, a.Name...)
	}
	b = append(b, a.Domain...)
	b = append(b, '/')
	b = append(b, a.Repository...)
	if a.Kind == PackageARN {
		for _, s := range [...]string{a.Format, a.Namespace, a.Name} {
			b = append(b, '/')
			b = append(b, s...)
		}
	}
	return b
}

// String is the ARN as documents write it.
func (a *ARN) String() string { return string(a.AppendARN(nil)) }

// ParseARN takes the ARN of a CodeArtifact resource apart. It checks the shape
// and that no needed part is empty, not the characters of names.
func ParseARN(s string) (ARN, error) {
	rest, ok := strings.CutPrefix(s, arnPrefix)
	f := strings.SplitN(rest, ":", 3)
	if !ok || len(f) != 3 || f[0] == "" || !isAccount(f[1]) {
		return ARN{}, fmt.Errorf("resource %q: want arn:aws:codeartifact:REGION:ACCOUNT:KIND/PATH", s)
	}
	a := ARN{Region: f[0], Owner: f[1]}
	kind, path, _ := strings.Cut(f[2], "/")
	switch p := strings.SplitN(path, "/", 5); {
	case kind == "domain" && len(p) == 1:
		a.Kind, a.Domain = DomainARN, p[0]
	case kind == "repository" && len(p) == 2 && p[1] != "":
		a.Kind, a.Domain, a.Repository = RepositoryARN, p[0], p[1]
	case kind == "package" && len(p) == 5 && p[1] != "" && p[2] != "" && p[4] != "":
		a.Kind, a.Domain, a.Repository, a.Format, a.Namespace, a.Name = PackageARN, p[0], p[1], p[2], p[3], p[4]
	case kind == "package-group" && len(p) > 1:
		a.Kind, a.Domain = PackageGroupARN, p[0]
		a.Name = path[len(p[0]):]
	}
	if a.Domain == "" {
		return ARN{}, fmt.Errorf("resource %q: want domain/D, repository/D/R, package/D/R/FORMAT/NAMESPACE/NAME or package-group/D/PATTERN", s)
	}
	return a, nil
}

// domain and repository are the places whose documents speak about a.
func (a *ARN) domain() place {
	return place{region: a.Region, owner: a.Owner, domain: a.Domain}
}

func (a *ARN) repository() place {
	p := a.domain()
	p.repository = a.Repository
	return p
}

// place is what a resource document hangs on: a domain, or a repository in it.
type place struct{ region, owner, domain, repository string }

func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
