package npm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"larder/formats"
)

// maxDeprecation bounds the text of a deprecation.
const maxDeprecation = 16 << 10

// compare looks at a version of the document beside the row that is held of it:
// another "deprecated" becomes an amendment, any other difference is remembered.
// "dist" is passed over, since Render wrote addresses into it.
func (u *upload) compare(v string, row *formats.Version, val []byte) error {
	told := deprecation(find(val, "deprecated"))
	if row == nil || len(row.Raw) == 0 {
		if find(val, "deprecated") != nil && len(u.message) < 1000 && len(told) <= maxDeprecation {
			u.message[told]++
		}
		return nil
	}
	if key := firstDifference(row.Raw, val); key != "" && u.differs == "" {
		u.differs = fmt.Sprintf("%s in %q", v, clip(key))
	}
	if told == deprecation(find(row.Raw, "deprecated")) {
		return nil
	}
	if len(told) > maxDeprecation {
		return formats.Refuse(formats.BadRequest, "a deprecation is longer than %d bytes", maxDeprecation)
	}
	u.told = told
	amended := &formats.Version{V: v, Raw: withDeprecation(row.Raw, told), Aux: row.Aux, Flags: row.Flags &^ formats.Deprecated}
	if told != "" {
		amended.Flags |= formats.Deprecated
	}
	change := formats.VersionChange{V: v, Row: amended, Amend: true}
	if row.Hosting != nil {
		change.Expect = row.Hosting.Revision
	}
	u.amended = append(u.amended, change)
	return nil
}

// deprecation is the text of a "deprecated" member; "" means that there is
// none. Old packages have true.
func deprecation(val []byte) string {
	if bytes.Equal(val, []byte("true")) {
		return "true"
	}
	return text(val)
}

// withDeprecation returns a manifest with another deprecation, all other bytes
// as they were.
func withDeprecation(raw []byte, told string) []byte {
	out := []byte{'{'}
	var m member
	for o, ok := openObject(raw); ok && o.next(&m); {
		if string(m.key) == "deprecated" {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, raw[m.start:m.till]...)
	}
	if told != "" {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendString(append(out, `"deprecated":`...), told)
	}
	return append(out, '}')
}

// firstDifference names a member in which two manifests differ; "" none.
func firstDifference(was, is []byte) string {
	members := func(raw []byte) map[string][]byte {
		out := map[string][]byte{}
		var m member
		for o, ok := openObject(raw); ok && o.next(&m); {
			switch string(m.key) {
			case "dist", "deprecated":
			default:
				out[string(m.key)] = raw[m.from:m.till]
			}
		}
		return out
	}
	old, now := members(was), members(is)
	for key, val := range now {
		if was, ok := old[key]; !ok || !equalJSON(was, val) {
			return key
		}
	}
	for key := range old {
		if _, ok := now[key]; !ok {
			return key
		}
	}
	return ""
}

// equalJSON compares two values as a client that parses and writes them again
// leaves them.
func equalJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	// An escape is six times what it stands for; more than that is no spelling.
	if len(a) > 6*len(b)+64 || len(b) > 6*len(a)+64 {
		return false
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// amend makes the change of a document without a tarball: a deprecation, and
// nothing else.
func (u *upload) amend() (*formats.Change, error) {
	switch {
	case u.bundle != nil:
		return nil, formats.Refuse(formats.BadRequest, "the request carries a provenance bundle and no tarball")
	case !u.once["versions"] && u.once["users"]:
		return nil, formats.Refuse(formats.NotSupported, "stars are not kept by this repository")
	case !u.once["versions"]:
		return nil, formats.Refuse(formats.NotSupported, "owners and other members of a package cannot be set: policy decides who may publish to this repository")
	case u.differs != "":
		return nil, formats.Refuse(formats.BadRequest, "of a version that is published only the deprecation can be changed; this request changes %s", u.differs)
	}
	held := 0
	for v := range u.seen {
		row, err := u.in.Version(u.name, v)
		if err != nil {
			return nil, fmt.Errorf("look up version: %w", err)
		}
		if row != nil {
			held++
			break
		}
	}
	switch {
	case held == 0:
		return nil, formats.Refuse(formats.BadRequest, "the request carries no tarball, and this repository itself holds none of the versions in it")
	case len(u.amended) == 0 && len(u.message) > 0:
		return nil, formats.Refuse(formats.BadRequest, "nothing changed: versions that come from an upstream cannot be deprecated here, and those held here say so already")
	}
	c := &formats.Change{Name: u.name, Versions: u.amended, Reply: formats.JSONReply(http.StatusOK, replyPublished)}
	if n := u.message[u.told]; n > 0 && len(u.amended) > 0 {
		c.Reply.Header.Set("Npm-Notice", fmt.Sprintf("%d versions of %s come from an upstream and stay as they are", n, u.name.Canon))
	}
	if len(u.amended) == 0 {
		return c, nil
	}
	return touch(u.in, c)
}
