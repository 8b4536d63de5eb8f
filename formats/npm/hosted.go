package npm

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"larder/formats"
)

// row makes the row of the version that is published: the client's manifest
// byte for byte, but for "dist", which is computed from the tarball, the readme,
// which belongs to the package (the registry moves it likewise), and "_npmUser",
// which nobody has checked.
func (u *upload) row(found *contents) (*formats.Version, error) {
	integrity, _ := formats.Find(u.tarball.Digests(), formats.SHA512)
	shasum, _ := formats.Find(u.tarball.Digests(), formats.SHA1)
	if integrity.Hex == "" || shasum.Hex == "" {
		return nil, fmt.Errorf("publish %s@%s: the store did not compute SHA-512 and SHA-1", u.name.Canon, u.version)
	}
	sig, err := u.in.Sign([]byte(u.name.Canon + "@" + u.version + ":" + integrity.SRI()))
	if err != nil {
		return nil, fmt.Errorf("sign %s@%s: %w", u.name.Canon, u.version, err)
	}
	raw := []byte{'{'}
	var m member
	for o, ok := openObject(u.manifest); ok && o.next(&m); {
		switch string(m.key) {
		case "dist", "readme", "_npmUser":
			continue
		}
		raw = append(append(raw, u.manifest[m.start:m.till]...), ',')
	}
	file := tarballFile(u.name.Canon, u.version)
	raw = append(raw, `"dist":{"integrity":`...)
	raw = appendString(raw, integrity.SRI())
	raw = append(raw, `,"shasum":"`+shasum.Hex+`","tarball":`...)
	raw = appendString(raw, file) // Render puts the address here
	raw = append(raw, `,"fileCount":`+strconv.Itoa(found.files)+`,"unpackedSize":`+strconv.FormatInt(found.size, 10)...)
	if sig.KeyID != "" {
		raw = append(raw, `,"signatures":[{"keyid":`...)
		raw = appendString(raw, sig.KeyID)
		raw = append(raw, `,"sig":`...)
		raw = append(appendString(raw, sig.Sig), `}]`...)
	}
	if u.bundle != nil {
		raw = append(raw, `,"attestations":{"url":"","provenance":{"predicateType":`...)
		raw = append(appendString(raw, predicateType(u.bundle)), `}}`...)
	}
	raw = append(raw, `}}`...)
	row := versionRow(u.name.Canon, nil, u.version, raw, appendString(nil, stamp(u.in.Now())))
	row.Assets[0].URL, row.Assets[0].Size = "", u.tarball.Size()
	row.Assets[0].Digests = u.tarball.Digests()
	return row, nil
}

// describe adds the tags and the package-level members to the change that
// publishes a version. The members are those of the version that "latest"
// names, as in the registry.
func (u *upload) describe(c *formats.Change) error {
	head, err := u.in.Head(u.name)
	if err != nil {
		return fmt.Errorf("look up package: %w", err)
	}
	c.Tags = map[string]string{}
	for tag, v := range u.tags {
		c.Tags[tag] = v
	}
	if head == nil || head.Tags["latest"] == "" {
		c.Tags["latest"] = u.version // a package always has one
	}
	next := &formats.Head{Display: u.name.Canon, Modified: u.in.Now()}
	if head != nil {
		next.Raw, next.Aux = head.Raw, head.Aux
	}
	next.Aux = stampModified(next.Aux, u.in.Now())
	if c.Tags["latest"] == u.version || len(next.Raw) == 0 {
		next.Raw = u.headRaw()
	}
	c.Head = next
	return nil
}

// headRaw builds the package-level members, those of the document before those
// of the manifest.
func (u *upload) headRaw() []byte {
	raw := appendString([]byte(`{"_id":`), u.name.Canon)
	raw = append(raw, `,"name":`...)
	raw = appendString(raw, u.name.Canon)
	for _, key := range headMembers() {
		val := u.head[key]
		if len(val) == 0 || bytes.Equal(val, []byte("null")) || bytes.Equal(val, []byte(`""`)) {
			val = find(u.manifest, key)
		}
		if len(val) == 0 || len(val) > maxReadme || bytes.Equal(val, []byte("null")) {
			continue
		}
		raw = append(append(append(append(raw, `,"`...), key...), `":`...), val...)
	}
	return append(raw, '}')
}

// stampModified sets "modified", and "created" where it is not there, in the
// times of a package.
func stampModified(aux []byte, now time.Time) []byte {
	at := string(appendString(nil, stamp(now)))
	out := []byte{'{'}
	if find(aux, "created") == nil {
		out = append(out, `"created":`+at+`,`...)
	}
	var m member
	for o, ok := openObject(aux); ok && o.next(&m); {
		if string(m.key) != "modified" {
			out = append(append(out, aux[m.start:m.till]...), ',')
		}
	}
	return append(out, `"modified":`+at+`}`...)
}
