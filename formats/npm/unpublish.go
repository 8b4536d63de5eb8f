package npm

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"larder/formats"
)

// revision makes the "_rev" that npm asks for before it unpublishes: how many
// versions the document has, and when the newest of those that a repository
// holds came. A whole package is only taken away by somebody who has seen its
// newest version.
func revision(v *formats.View) string {
	var newest time.Time
	see := func(row *formats.Version) {
		if row.Hosting != nil && row.Hosting.Since.After(newest) {
			newest = row.Hosting.Since
		}
	}
	for _, row := range v.Versions {
		see(row)
	}
	for _, h := range v.Hidden {
		see(h.Version)
	}
	stamp := int64(0)
	if !newest.IsZero() {
		stamp = newest.UnixNano()
	}
	return fmt.Sprintf("%d-%016x", len(v.Versions), uint64(stamp))
}

func parseRevision(s string) (newest time.Time, ok bool) {
	count, stamp, ok := strings.Cut(s, "-")
	if _, err := strconv.ParseUint(count, 10, 32); err != nil || !ok || len(stamp) != 16 {
		return time.Time{}, false
	}
	n, err := strconv.ParseUint(stamp, 16, 63)
	return time.Unix(0, int64(n)), err == nil
}

// unpublish makes the change of a packument from which one version was left
// out. That the client had seen the version is told by "time", which keeps it:
// one that was published meanwhile is in neither.
func (u *upload) unpublish() (*formats.Change, error) {
	switch {
	case !u.once["versions"]:
		return u.amend() // which words the refusal
	case u.tarball != nil || u.bundle != nil || u.differs != "" || len(u.amended) > 0:
		return nil, formats.Refuse(formats.BadRequest, "a request to unpublish can do nothing but leave one version out")
	}
	rows, err := u.in.Versions(u.name)
	if err != nil {
		return nil, fmt.Errorf("look up versions: %w", err)
	}
	var gone []*formats.Version
	for _, row := range rows {
		if !u.seen[row.V] && u.times[row.V] && (row.Hosting == nil || row.Hosting.Status.Listed()) {
			gone = append(gone, row)
		}
	}
	switch len(gone) {
	case 0:
		return nil, formats.Refuse(formats.BadRequest, "nothing to unpublish: only a version that this repository itself holds can be taken away, and none of them was left out")
	case 1:
		return without(u.in, u.name, rows, gone)
	}
	return nil, formats.Refuse(formats.BadRequest, "one version is unpublished at a time, this request leaves out %d", len(gone))
}

// removeVersion takes away the version of a tarball. npm asks for this after
// the version has left the document; it reads 404 as "done".
func removeVersion(t formats.Target, in formats.Intake) (*formats.Change, error) {
	row, err := in.Version(t.Name, t.Version)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, formats.Refuse(formats.NotFound, "this repository itself holds no %s@%s", t.Name.Canon, t.Version)
	}
	rows, err := in.Versions(t.Name)
	if err != nil {
		return nil, err
	}
	return without(in, t.Name, rows, []*formats.Version{row})
}

// removePackage takes away all versions that the repository itself holds.
func removePackage(t formats.Target, in formats.Intake) (*formats.Change, error) {
	newest, ok := parseRevision(t.Variant)
	if !ok {
		return nil, formats.Refuse(formats.Conflict, "%s is not a revision of %s: read the document again", clip(t.Variant), t.Name.Canon)
	}
	rows, err := in.Versions(t.Name)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 { // not 404, which npm takes for success
		return nil, formats.Refuse(formats.BadRequest, "this repository itself holds no version of %s; what comes from an upstream cannot be taken away here", t.Name.Canon)
	}
	for _, row := range rows {
		if h := row.Hosting; h != nil && h.Status.Listed() && h.Since.After(newest) {
			return nil, formats.Refuse(formats.Conflict, "%s@%s came after the document was read: read it again", t.Name.Canon, row.V)
		}
	}
	return without(in, t.Name, rows, rows)
}

// without makes the change that deletes versions, and tags with them: "latest"
// moves to what is left, others go.
func without(in formats.Intake, n formats.Name, rows, gone []*formats.Version) (*formats.Change, error) {
	c := &formats.Change{Name: n, Tags: map[string]string{}, Reply: formats.JSONReply(http.StatusOK, replyPublished)}
	lost := map[string]bool{}
	for _, row := range gone {
		lost[row.V] = true
		change := formats.VersionChange{V: row.V, Delete: true}
		if row.Hosting != nil {
			change.Expect = row.Hosting.Revision
		}
		c.Versions = append(c.Versions, change)
	}
	head, err := in.Head(n)
	if err != nil || head == nil {
		return c, err
	}
	var left []*formats.Version
	for _, row := range rows {
		if !lost[row.V] && (row.Hosting == nil || row.Hosting.Status.Listed()) {
			left = append(left, row)
		}
	}
	for tag, v := range head.Tags {
		if !lost[v] {
			continue
		}
		c.Tags[tag] = ""
		if tag == "latest" {
			c.Tags[tag] = latest(left, v)
		}
	}
	return touch(in, c)
}
