package origin

import (
	"fmt"
	"slices"
)

// PackageRestrictions are the origin controls of one package in one repository:
// ALLOW or BLOCK each. The zero value is a package that does not exist yet: it
// leaves the decision to its group. Any other value blocks.
type PackageRestrictions struct {
	Publish  Mode
	Upstream Mode
}

// Validate checks what PutPackageOriginConfiguration is given: both values, each
// ALLOW or BLOCK. The error is ErrValidation.
func (r PackageRestrictions) Validate() error {
	for _, m := range []Mode{r.Publish, r.Upstream} {
		if m != Allow && m != Block {
			return refuse(ErrValidation, "origin restriction %q: want ALLOW or BLOCK for both publish and upstream", m)
		}
	}
	return nil
}

// DefaultsFor returns the controls a package gets with its first version:
// published directly, or ingested or retained.
func DefaultsFor(published bool) PackageRestrictions {
	if published {
		return PackageRestrictions{Publish: Allow, Upstream: Block}
	}
	return PackageRestrictions{Publish: Block, Upstream: Allow}
}

// Verdict is a decision with the facts it rests on. Its zero value blocks.
type Verdict struct {
	Allowed bool
	Reason  string // one sentence for people
	Group   string // pattern of the group that the package belongs to
	From    string // pattern of the group that gives the mode: Group or an ancestor
	Mode    Mode   // effective mode of the group
	Strong  bool   // false: the package is a variation of what Group names
}

// Decide answers whether a version of c may enter repo by the way what. own are
// the package's controls in repo. BLOCK on either side wins; a package that allows
// defers to its group; a weak match blocks every way. repo is the repository that
// receives the version: the one published to, the one whose external connection
// ingests, or the one that retains from an upstream. An unknown way is blocked.
func Decide(t *Tree, own PackageRestrictions, c Coordinate, what Type, repo string) Verdict {
	n, strong := t.associate(c)
	v := Verdict{Group: n.text, Strong: strong}
	i := slices.Index(Types(), what)
	if i < 0 {
		v.Reason = fmt.Sprintf("%q is no way for a version to enter a repository", what)
		return v
	}
	giver := n.givers[i]
	v.Mode, v.From = giver.settings[i].Mode, giver.text
	setting, control := own.Upstream, "upstream"
	if what == Publish {
		setting, control = own.Publish, "publish"
	}
	switch {
	case !strong:
		v.Reason = fmt.Sprintf("the name is a variation of what package group %s names, and such packages are blocked", n.text)
	case setting != Allow && own != PackageRestrictions{}:
		v.Reason = fmt.Sprintf("the package's origin control %s is BLOCK in repository %s", control, repo)
	case v.Mode == Allow:
		v.Allowed = true
		v.Reason = fmt.Sprintf("package group %s allows %s", v.From, what)
	case v.Mode == AllowSpecific && slices.Contains(giver.group.Allowed[what], repo):
		v.Allowed = true
		v.Reason = fmt.Sprintf("package group %s allows %s for repository %s", v.From, what, repo)
	case v.Mode == AllowSpecific:
		v.Reason = fmt.Sprintf("package group %s allows %s only for listed repositories, and %s is not one", v.From, what, repo)
	default:
		v.Reason = fmt.Sprintf("package group %s blocks %s", v.From, what)
	}
	return v
}
