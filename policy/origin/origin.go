// Package origin owns CodeArtifact's package groups and origin controls: the
// grammar of group patterns, which group a package belongs to, and whether a
// version of it may enter a repository by being published, ingested or retained.
// It is data and decisions only: it keeps no rows, reads no clock, speaks no
// HTTP and never asks whether a package or a repository exists. Its trees are
// immutable and safe for concurrent use.
//
// Facts are those of CodeArtifact's user guide ("Package group definition syntax
// and matching behavior", "Package group origin controls", "Editing package
// origin controls"); DESIGN.md says where this package had to choose.
package origin

import (
	"errors"
	"fmt"
	"slices"
)

// The kinds of an Error; compare with errors.Is.
var (
	ErrValidation = errors.New("validation") // the request cannot be meant: ValidationException
	ErrNotFound   = errors.New("not found")  // no such group or repository: ResourceNotFoundException
	ErrConflict   = errors.New("conflict")   // the group exists already: ConflictException
)

// Error is a refusal whose Message can be sent to the client as it is.
type Error struct {
	Kind    error // ErrValidation, ErrNotFound or ErrConflict
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap makes errors.Is find the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Type is a way by which a version enters a repository, in the spelling of
// CodeArtifact's PackageGroupOriginRestrictionType.
type Type string

// The three ways.
const (
	Publish          Type = "PUBLISH"           // uploaded by a client
	ExternalUpstream Type = "EXTERNAL_UPSTREAM" // ingested from a registry outside
	InternalUpstream Type = "INTERNAL_UPSTREAM" // retained from another repository of the domain
)

// Types lists the three ways in a stable order.
func Types() []Type { return []Type{Publish, ExternalUpstream, InternalUpstream} }

func (t Type) valid() bool { return t == Publish || t == ExternalUpstream || t == InternalUpstream }

// Mode is what a group says about one Type, in the spelling of CodeArtifact's
// PackageGroupOriginRestrictionMode.
type Mode string

// The four modes.
const (
	Allow         Mode = "ALLOW"
	AllowSpecific Mode = "ALLOW_SPECIFIC_REPOSITORIES"
	Block         Mode = "BLOCK"
	Inherit       Mode = "INHERIT"
)

func (m Mode) valid() bool { return m == Allow || m == AllowSpecific || m == Block || m == Inherit }

// Root is the pattern of the group that exists in every domain.
const Root = "/*"

// Group is the row of one package group, as far as origin controls go. A group
// that a Tree hands out shares the tree's maps: read them only.
type Group struct {
	Pattern string
	// Restrictions has one mode for each Type. A missing one means INHERIT, at the
	// root ALLOW.
	Restrictions map[Type]Mode
	// Allowed lists repositories for the types whose mode is
	// ALLOW_SPECIFIC_REPOSITORIES; lists of other types do not exist.
	Allowed map[Type][]string
}

// normal returns g with its pattern normalised, every type explicit and the lists
// sorted; nothing is shared with g.
func (g Group) normal() (Group, Pattern, error) {
	p, err := ParsePattern(g.Pattern)
	if err != nil {
		return Group{}, Pattern{}, err
	}
	out := Group{Pattern: p.String(), Restrictions: make(map[Type]Mode, 3), Allowed: map[Type][]string{}}
	for t := range g.Restrictions {
		if !t.valid() {
			return Group{}, Pattern{}, refuse(ErrValidation, "unknown origin restriction type %q of package group %s", t, p)
		}
	}
	for _, t := range Types() {
		m, ok := g.Restrictions[t]
		switch {
		case !ok && p.form == FormRoot:
			m = Allow
		case !ok:
			m = Inherit
		}
		if err := checkMode(p, t, m); err != nil {
			return Group{}, Pattern{}, err
		}
		out.Restrictions[t] = m
		if m == AllowSpecific {
			list := slices.Clone(g.Allowed[t])
			slices.Sort(list)
			out.Allowed[t] = slices.Compact(list)
		}
	}
	return out, p, nil
}

func checkMode(p Pattern, t Type, m Mode) error {
	if !m.valid() {
		return refuse(ErrValidation, "unknown origin restriction mode %q of %s for package group %s", m, t, p)
	}
	if m == Inherit && p.form == FormRoot {
		return refuse(ErrValidation, "the root package group %s has no parent: its %s restriction cannot be INHERIT", Root, t)
	}
	return nil
}
