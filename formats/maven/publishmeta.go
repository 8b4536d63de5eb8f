package maven

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"larder/formats"
)

const (
	maxSent     = 16      // documents whose digests are remembered for their checksum files
	maxPlugins  = 10_000  // entries of one plugin group
	maxDeployed = 8 << 20 // bytes of a deployed maven-metadata.xml
)

// headAux is kept in the head of a name. What is served differs from what was
// sent, so the checksum files behind a document are compared with this.
type headAux struct {
	Sent []sentDocument `json:"sent,omitempty"` // the newest last
}

type sentDocument struct {
	Doc     string           `json:"doc,omitempty"` // Target.Doc
	Digests []formats.Digest `json:"digests"`
}

// deployed is a maven-metadata.xml as a client sent it.
type deployed struct {
	*metadata
	versions []string
	spool    formats.Spool
}

func readDeployed(ctx context.Context, t formats.Target, in formats.Intake) (*deployed, error) {
	sp, err := in.Spool(ctx, io.LimitReader(in, maxDeployed+1))
	if err != nil {
		return nil, fmt.Errorf("take in %s: %w", metadataFile, err)
	}
	if sp.Size() > maxDeployed {
		return nil, formats.Refuse(formats.TooLarge, "this %s has more than %d bytes", metadataFile, maxDeployed)
	}
	d := &deployed{spool: sp}
	d.metadata, err = scan(io.NewSectionReader(sp, 0, sp.Size()), nil, func(v string) error {
		if !isVersion(v) {
			return fmt.Errorf("%.80q cannot be a version", v)
		}
		if len(d.versions) >= maxVersions {
			return fmt.Errorf("more than %d versions", maxVersions)
		}
		d.versions = append(d.versions, v)
		return nil
	})
	if err != nil {
		return nil, formats.Refuse(formats.BadRequest, "this is no %s: %v", metadataFile, err).Because(err)
	}
	if err := d.fits(t); err != nil {
		return nil, formats.Refuse(formats.BadRequest, "this %s does not belong at this path: %v", metadataFile, err).Because(err)
	}
	return d, nil
}

// fits demands that a document stands at the level it speaks of.
func (d *deployed) fits(t formats.Target) error {
	if err := d.mustBe(t); err != nil {
		return err
	}
	group, artifact := coordinates(t.Name)
	builds := d.snap != nil || len(d.builds) > 0
	switch {
	case d.artifact == "" && !d.versioned && len(d.plugins) > 0 && t.Doc == "":
		return nil // of a plugin group
	case d.artifact == "" || d.group == "":
		return fmt.Errorf("it does not say that it is of %s:%s", group, artifact)
	case t.Doc != "" && !builds:
		return fmt.Errorf("it names no build of %s", t.Doc)
	case t.Doc == "" && builds:
		return fmt.Errorf("it is of one snapshot, %.80q, not of all versions", d.version)
	}
	return nil
}

// publishMetadata reads a document of any level.
func publishMetadata(ctx context.Context, t formats.Target, in formats.Intake) (*formats.Change, error) {
	d, err := readDeployed(ctx, t, in)
	if err != nil {
		return nil, err
	}
	rows, err := in.Versions(t.Name)
	if err != nil {
		return nil, fmt.Errorf("look up the versions of %s: %w", t.Name.Show(), err)
	}
	c := &formats.Change{Name: t.Name, Reply: empty(http.StatusCreated)}
	switch {
	case t.Doc != "":
		err = d.publishBuilds(c, t, rows, in)
	case d.versioned || d.artifact != "":
		err = d.publishReleases(c, t, rows)
	}
	if err != nil {
		return nil, err
	}
	old, err := in.Head(t.Name)
	if err != nil {
		return nil, fmt.Errorf("look up the head of %s: %w", t.Name.Show(), err)
	}
	c.Head, err = d.head(t, old)
	if err != nil {
		return nil, err
	}
	c.Head.Modified = in.Now()
	return c, nil
}

// publishReleases publishes every unfinished version that the document names in
// its list or as its latest or release.
func (d *deployed) publishReleases(c *formats.Change, t formats.Target, rows []*formats.Version) error {
	if len(rows) == 0 {
		return formats.Refuse(formats.NotFound, "no file of %s has been uploaded here: %s comes last", t.Name.Show(), metadataFile)
	}
	named := map[string]bool{d.latest: true, d.release: true}
	for _, v := range d.versions {
		named[v] = true
	}
	for _, row := range rows {
		if !named[row.V] || row.Hosting == nil || row.Hosting.Status != formats.Unfinished {
			continue
		}
		if err := d.finish(c, row, formats.Published); err != nil {
			return err
		}
	}
	return nil
}

// finish gives an unfinished version its status. The document counts as one of
// its files.
func (d *deployed) finish(c *formats.Change, row *formats.Version, status formats.Status) error {
	if bad := auxOf(row).Mismatch; len(bad) > 0 {
		return formats.Refuse(formats.BadRequest, "%s %s stays unfinished: %s did not fit what was uploaded", c.Name.Show(), row.V, strings.Join(bad, ", "))
	}
	vc := formats.VersionChange{V: row.V, Status: status}
	if _, ok := row.Held[metadataFile]; !ok {
		vc.Row = &formats.Version{V: row.V, Assets: []formats.Asset{{File: metadataFile, Size: d.spool.Size(), Digests: d.spool.Digests()}}}
		vc.Files = []formats.NewFile{{File: metadataFile, ContentType: contentType(metadataFile), Spool: d.spool}}
	}
	c.Versions = append(c.Versions, vc)
	return nil
}

// publishBuilds takes the unfinished builds that the document names for
// complete, and makes the snapshot's row name the newest of all builds.
func (d *deployed) publishBuilds(c *formats.Change, t formats.Target, rows []*formats.Version, in formats.Intake) error {
	_, artifact := coordinates(t.Name)
	named := d.named(t.Doc)
	files := map[string]build{}
	var base *formats.Version
	found := false
	for _, row := range rows {
		if row.V == t.Doc {
			base = row
		}
		if of, ok := baseOf(row.V); !ok || of != t.Doc || row.Hosting == nil {
			continue
		}
		found = found || named[row.V]
		switch st := row.Hosting.Status; {
		case st == formats.Unfinished && named[row.V]:
			if err := d.finish(c, row, formats.UnlistedStatus); err != nil {
				return err
			}
		case !st.Downloadable():
			continue
		}
		addBuilds(files, artifact, t.Doc, row)
	}
	if !found || len(files) == 0 {
		return formats.Refuse(formats.NotFound, "no file of the builds that this document names has been uploaded here: %s comes last", metadataFile)
	}
	d.explain(files, artifact)
	vc, err := snapshotRow(t, base, newestBuilds(files), in)
	if err != nil {
		return err
	}
	c.Versions = append(c.Versions, vc)
	return nil
}

// named lists the builds of a snapshot that a document speaks of.
func (d *deployed) named(base string) map[string]bool {
	named := map[string]bool{}
	for _, b := range d.builds {
		named[b.value] = true
	}
	if s := d.snap; s != nil && s.timestamp != "" {
		named[fmt.Sprintf("%s%s-%d", strings.TrimSuffix(base, snapshot), s.timestamp, s.number)] = true
	}
	return named
}

// snapshotRow is the change to the row of a snapshot itself.
func snapshotRow(t formats.Target, known *formats.Version, m metadata, in formats.Intake) (formats.VersionChange, error) {
	m.group, m.artifact = coordinates(t.Name)
	m.version = t.Doc
	var raw bytes.Buffer
	if err := (&document{m: m}).write(&raw); err != nil {
		return formats.VersionChange{}, fmt.Errorf("write builds of %s: %w", t.Doc, err)
	}
	newest := fmt.Sprintf("%s%s-%d", strings.TrimSuffix(t.Doc, snapshot), m.snap.timestamp, m.snap.number)
	aux, err := rowAux{Build: newest}.encode()
	if err != nil {
		return formats.VersionChange{}, err
	}
	vc := formats.VersionChange{V: t.Doc, Status: formats.Published,
		Row: &formats.Version{V: t.Doc, Published: in.Now(), From: formats.TimeUpstream, Raw: raw.Bytes(), Aux: aux}}
	if known != nil && known.Hosting != nil {
		if known.Hosting.Status.Blocks() {
			return vc, formats.Refuse(formats.Conflict, "%s %s is %s here", t.Name.Show(), t.Doc, strings.ToLower(known.Hosting.Status.String()))
		}
		vc.Amend, vc.Expect = true, known.Hosting.Revision
	}
	return vc, nil
}

// head is the name's head after the document: plugins are united, and the
// digests of what was sent are remembered.
func (d *deployed) head(t formats.Target, old *formats.Head) (*formats.Head, error) {
	h := &formats.Head{}
	if old != nil {
		h.Raw, h.Display = old.Raw, old.Display
	}
	if len(d.plugins) > 0 {
		raw, err := d.plugged(h.Raw)
		if err != nil {
			return nil, err
		}
		h.Raw = raw
	}
	var aux headAux
	if old != nil && json.Unmarshal(old.Aux, &aux) != nil {
		aux = headAux{}
	}
	sent := sentDocument{t.Doc, d.spool.Digests()}
	aux.Sent = slices.DeleteFunc(aux.Sent, func(s sentDocument) bool { return s.Doc == sent.Doc && slices.Equal(s.Digests, sent.Digests) })
	aux.Sent = append(aux.Sent, sent)
	if len(aux.Sent) > maxSent {
		aux.Sent = aux.Sent[len(aux.Sent)-maxSent:]
	}
	var err error
	if h.Aux, err = json.Marshal(aux); err != nil {
		return nil, fmt.Errorf("encode digests of %s: %w", metadataFile, err)
	}
	return h, nil
}

// plugged is the kept document with the plugins of this one; the client's entry
// replaces an older one of the same prefix and artifact.
func (d *deployed) plugged(raw []byte) ([]byte, error) {
	kept := &metadata{}
	if len(raw) > 0 {
		var err error
		if kept, err = scan(bytes.NewReader(raw), nil, nil); err != nil {
			return nil, fmt.Errorf("read kept plugins: %w", err)
		}
	}
	for _, p := range d.plugins {
		p.extra = nil
		at := slices.IndexFunc(kept.plugins, func(k plugin) bool { return k.prefix == p.prefix && k.artifact == p.artifact })
		if at < 0 {
			kept.plugins = append(kept.plugins, p)
		} else {
			kept.plugins[at] = p
		}
	}
	if len(kept.plugins) > maxPlugins {
		return nil, formats.Refuse(formats.TooLarge, "a group has at most %d plugins here", maxPlugins)
	}
	var b bytes.Buffer
	if err := (&document{m: *kept}).write(&b); err != nil {
		return nil, fmt.Errorf("write plugins: %w", err)
	}
	return b.Bytes(), nil
}

// compareMetadata checks a checksum file against the documents that came before
// it. Several clients may deploy at a time, so any recent one will do.
func compareMetadata(t formats.Target, in formats.Intake) (*formats.Change, error) {
	what := metadataFile + "." + t.Variant
	sent, err := sentDigest(in, what)
	if err != nil {
		return nil, err
	}
	head, err := in.Head(t.Name)
	if err != nil {
		return nil, fmt.Errorf("look up the head of %s: %w", t.Name.Show(), err)
	}
	var aux headAux
	if head != nil && json.Unmarshal(head.Aux, &aux) != nil {
		aux = headAux{}
	}
	known := false
	for _, s := range aux.Sent {
		if s.Doc != t.Doc {
			continue
		}
		known = true
		if d, ok := formats.Find(s.Digests, formats.Alg(t.Variant)); ok && d.Hex == sent {
			return &formats.Change{Name: t.Name, Reply: empty(http.StatusOK)}, nil
		}
	}
	if !known {
		return nil, formats.Refuse(formats.NotFound, "%s has not been uploaded, so its checksum cannot be compared", metadataFile)
	}
	return nil, formats.Refuse(formats.BadRequest, "%s says %.140q, which is not the checksum of the %s that was uploaded", what, sent, metadataFile)
}
