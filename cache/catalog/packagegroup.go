package catalog

import (
	"maps"
	"slices"
)

// RootGroup is the pattern of the group that every domain has.
const RootGroup = "/*"

func groupKey(domain, pattern string) []byte { return controlKey(famGroup, domain, pattern) }

// PutGroup makes or changes a package group. What is nil stays as it is.
type PutGroup struct {
	Pattern      string              `cbor:"1,keyasint"`
	Create       bool                `cbor:"2,keyasint,omitempty"`
	Contact      *string             `cbor:"3,keyasint,omitempty"`
	Description  *string             `cbor:"4,keyasint,omitempty"`
	Tags         map[string]string   `cbor:"5,keyasint,omitempty"`
	Restrictions map[string]string   `cbor:"6,keyasint,omitempty"` // type -> mode
	Allow        map[string][]string `cbor:"7,keyasint,omitempty"` // type -> repositories to add
	Disallow     map[string][]string `cbor:"8,keyasint,omitempty"` // type -> repositories to take away
}

func (*PutGroup) kind() string                     { return "put-package-group" }
func (*PutGroup) locks() (bool, string, string)    { return true, "", "" }
func (*DeleteGroup) kind() string                  { return "delete-package-group" }
func (*DeleteGroup) locks() (bool, string, string) { return true, "", "" }

func (op *PutGroup) apply(m *machine) error {
	d, err := m.domain()
	if err != nil {
		return err
	}
	row := Group{Pattern: op.Pattern, Created: m.cmd.At}
	old, known := d.Group(op.Pattern)
	switch {
	case op.Create && (known || op.Pattern == RootGroup):
		return fault(FaultConflict, "package-group", op.Pattern, "Package group '%s' already exists in domain '%s'", op.Pattern, d.Name)
	case known:
		row = *old
	case op.Pattern == RootGroup:
		row.Created = d.Created
	case !op.Create:
		return fault(FaultNotFound, "package-group", op.Pattern, "Package group not found. Package group: '%s', domain: '%s'", op.Pattern, d.Name)
	}
	if op.Contact != nil {
		row.Contact = *op.Contact
	}
	if op.Description != nil {
		row.Description = *op.Description
	}
	if op.Create {
		row.Tags = op.Tags
	}
	if len(op.Restrictions) > 0 {
		row.Restrictions = maps.Clone(row.Restrictions)
		if row.Restrictions == nil {
			row.Restrictions = map[string]string{}
		}
		maps.Copy(row.Restrictions, op.Restrictions)
	}
	row.Allowed = changeLists(row.Allowed, op.Allow, op.Disallow)
	if _, err := originTree([]*Group{&row}); err != nil {
		return fault(FaultValidation, "package-group", op.Pattern, "%v", err)
	}
	m.tell(Entry{Domain: d.Name, Cause: CauseControl, Note: "package group " + op.Pattern + " changed"})
	return m.put(groupKey(d.Name, op.Pattern), row)
}

// changeLists adds to and takes from sorted lists.
func changeLists(old, add, remove map[string][]string) map[string][]string {
	out := map[string][]string{}
	for typ, list := range old {
		out[typ] = slices.DeleteFunc(slices.Clone(list), func(r string) bool { return slices.Contains(remove[typ], r) })
	}
	for typ, list := range add {
		for _, r := range list {
			if i, ok := slices.BinarySearch(out[typ], r); !ok {
				out[typ] = slices.Insert(out[typ], i, r)
			}
		}
	}
	return out
}

// DeleteGroup takes a package group away; its children fall to its parent.
type DeleteGroup struct {
	Pattern string `cbor:"1,keyasint"`
}

func (op *DeleteGroup) apply(m *machine) error {
	d, err := m.domain()
	if err != nil {
		return err
	}
	if op.Pattern == RootGroup {
		return fault(FaultValidation, "package-group", op.Pattern, "The root package group '%s' cannot be deleted", RootGroup)
	}
	if _, ok := d.Group(op.Pattern); !ok {
		return fault(FaultNotFound, "package-group", op.Pattern, "Package group not found. Package group: '%s', domain: '%s'", op.Pattern, d.Name)
	}
	m.b.Delete(groupKey(d.Name, op.Pattern))
	m.tell(Entry{Domain: d.Name, Cause: CauseControl, Note: "package group " + op.Pattern + " deleted"})
	return nil
}
