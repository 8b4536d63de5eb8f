package golang

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"larder/formats"
)

var (
	_ formats.Publisher = (*Format)(nil)
	_ formats.Reserver  = (*Format)(nil)
)

// maxPublishedGoMod bounds the go.mod of a published module in bytes: it is
// parsed in memory.
const maxPublishedGoMod = 1 << 20

// routePublish parses PUT {module}/@v/{version}.zip. The module proxy protocol
// has no upload; this is the path from which the zip is read afterwards.
func routePublish(segments []string) (formats.Target, error) {
	n := len(segments)
	if n < 3 || segments[n-2] != "@v" {
		return formats.Target{}, formats.Refuse(formats.Method, "a module version is published by PUT of its zip at MODULE/@v/VERSION.zip")
	}
	name, err := parseModule(segments[:n-2])
	if err != nil {
		return formats.Target{}, err
	}
	escaped, ok := strings.CutSuffix(segments[n-1], ".zip")
	if !ok {
		return formats.Target{}, formats.Refuse(formats.Method, "only the zip of a module version is published; its .info and .mod are made from it")
	}
	version, err := module.UnescapeVersion(escaped)
	if err != nil || len(version) > maxVersion {
		return formats.Target{}, formats.Refuse(formats.BadRequest, "%.80q is not an escaped version", escaped).Because(err)
	}
	if err := publishable(name.Canon, version); err != nil {
		return formats.Target{}, err
	}
	return formats.Target{Kind: formats.KindPublish, Deed: formats.DeedPublish, Name: name, Version: version, File: version + ".zip", Fresh: formats.NoStore}, nil
}

// publishable refuses versions that only version control gives, and paths that
// are not a module's own.
func publishable(path, version string) error {
	mod := module.Version{Path: path, Version: version}
	switch {
	case path == toolchain:
		return formats.Refuse(formats.BadRequest, "toolchains are not published here: go holds each against the public checksum database")
	case module.IsPseudoVersion(version):
		return formats.Refuse(formats.BadRequest, "%s is a pseudo-version, which stands for a commit; publish a tagged version", version)
	case strings.HasSuffix(version, "+incompatible"):
		return formats.Refuse(formats.BadRequest, "%s is for modules without go.mod; a published module has one, and a path that ends in its major version", version)
	case !immutable(path, version):
		return formats.Refuse(formats.BadRequest, "%s is not a version to publish: it is vMAJOR.MINOR.PATCH or a prerelease, and from v2 on the module's path ends in /vMAJOR", mod).
			Because(module.Check(path, version))
	}
	return nil
}

// Publish takes the zip of a module version and makes the other two files of
// the version from it.
func (f *Format) Publish(ctx context.Context, rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	mod := module.Version{Path: t.Name.Canon, Version: t.Version}
	existing, err := in.Version(t.Name, t.Version)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", mod, err)
	}
	spool, err := in.Spool(ctx, io.LimitReader(in, maxZip+1))
	if err != nil {
		return nil, fmt.Errorf("take in the zip of %s: %w", mod, err)
	}
	if spool.Size() > maxZip {
		return nil, formats.Refuse(formats.TooLarge, "the zip of %s has more than %d bytes, the limit of go itself", mod, int64(maxZip))
	}
	sum, err := hashZip(ctx, mod, spool)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("check the zip of %s: %w", mod, ctx.Err())
	}
	if err != nil {
		return nil, formats.Refuse(formats.BadRequest, "the zip of %s is refused: %v", mod, err).Because(err)
	}
	gomod, err := publishedGoMod(mod, spool)
	if err != nil {
		return nil, formats.Refuse(formats.BadRequest, "the zip of %s is refused: %v", mod, err).Because(err)
	}
	return newChange(ctx, mod, in, existing, sum, spool, gomod)
}

// newChange has the three files of a version. The .info carries the time of the
// first publish, so who sends the same zip again does not send it again.
func newChange(ctx context.Context, mod module.Version, in formats.Intake, existing *formats.Version, sum string, zip formats.Spool, gomod []byte) (*formats.Change, error) {
	at := in.Now().UTC().Truncate(time.Second)
	status := http.StatusCreated
	keepInfo := false
	if existing != nil {
		if !existing.Published.IsZero() {
			at = existing.Published.UTC()
		}
		status = http.StatusOK
		_, keepInfo = existing.Held[mod.Version+".info"]
	}
	row := &formats.Version{V: mod.Version, Published: at, From: formats.TimeUpstream, Raw: []byte(mod.Version + " " + at.Format(time.RFC3339))}
	change := formats.VersionChange{V: mod.Version, Row: row}
	add := func(ext, contentType string, s formats.Spool, aux []byte) {
		file := mod.Version + ext
		row.Assets = append(row.Assets, formats.Asset{File: file, Size: s.Size(), Digests: s.Digests(), Uploaded: at, From: formats.TimeUpstream})
		change.Files = append(change.Files, formats.NewFile{File: file, ContentType: contentType, Spool: s, Aux: aux})
	}
	add(".zip", typeZip, zip, nil)
	spool, err := in.Spool(ctx, bytes.NewReader(gomod))
	if err != nil {
		return nil, fmt.Errorf("take in the go.mod of %s: %w", mod, err)
	}
	add(".mod", typeText, spool, nil)
	if !keepInfo {
		raw, err := json.Marshal(struct {
			Version string
			Time    time.Time
		}{mod.Version, at})
		if err != nil {
			return nil, fmt.Errorf("write version information of %s: %w", mod, err)
		}
		if spool, err = in.Spool(ctx, bytes.NewReader(raw)); err != nil {
			return nil, fmt.Errorf("take in the version information of %s: %w", mod, err)
		}
		add(".info", typeJSON, spool, raw) // the text beside the row, as Inspect keeps it
	}
	reply, err := publishedReply(mod, at, sum, gomod, status)
	if err != nil {
		return nil, err
	}
	return &formats.Change{Name: formats.Name{Canon: mod.Path}, Versions: []formats.VersionChange{change}, Reply: reply}, nil
}

// publishedReply has what go mod download -json says of a module, so that a
// publisher can compare the sums, or write them into a go.sum.
func publishedReply(mod module.Version, at time.Time, sum string, gomod []byte, status int) (*formats.Reply, error) {
	modSum, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(gomod)), nil
	})
	if err != nil {
		return nil, fmt.Errorf("hash go.mod of %s: %w", mod, err)
	}
	body, err := json.Marshal(struct {
		Path, Version string
		Time          time.Time
		Sum, GoModSum string
	}{mod.Path, mod.Version, at, sum, modSum})
	if err != nil {
		return nil, fmt.Errorf("write the answer to a publish: %w", err)
	}
	return formats.JSONReply(status, string(body)+"\n"), nil
}

// publishedGoMod is the go.mod at the root of a checked zip. A module that is
// published has one, which names the module, and its zip has files only.
func publishedGoMod(mod module.Version, f formats.File) ([]byte, error) {
	z, err := openZip(f, maxDirectory, maxEntries)
	if err != nil {
		return nil, err
	}
	// go counts an entry for a directory in the sum of the zip, but not in that of
	// the unpacked files: go mod verify would fail on every machine.
	for _, zf := range z.File {
		if strings.HasSuffix(zf.Name, "/") {
			return nil, fmt.Errorf("entry %.200q is a directory, and a module zip has files only (zip -D makes such a one; git archive does not)", zf.Name)
		}
	}
	root := mod.Path + "@" + mod.Version + "/go.mod"
	for _, zf := range z.File {
		if zf.Name != root {
			continue
		}
		data, err := readZipEntry(zf, maxPublishedGoMod)
		if err != nil {
			return nil, err
		}
		parsed, err := modfile.ParseLax("go.mod", data, nil)
		if err != nil {
			return nil, fmt.Errorf("parse go.mod: %w", err)
		}
		if parsed.Module == nil || parsed.Module.Mod.Path != mod.Path {
			return nil, fmt.Errorf("its go.mod names another module than %s, or none", mod.Path)
		}
		return data, nil
	}
	return nil, errors.New("it has no go.mod at its root")
}

// Reserved refuses to ask upstreams about a module that is published here: no
// checksum database knows it, and none shall learn its name; nor has a proxy
// outside branches of it.
func (*Format) Reserved(t formats.Target) *formats.Refusal {
	switch {
	case t.Kind != formats.KindDocument || t.Name.Canon == "" || t.Name.Canon == toolchain:
		return nil
	case strings.HasPrefix(t.Doc, sumdbPrefix):
		return formats.Refuse(formats.Forbidden,
			"%s is published here, so no checksum database is asked for it; set GONOSUMDB=%s (go env -w)", t.Name.Canon, t.Name.Canon)
	}
	return formats.Refuse(formats.NotFound, "%s is published here and has versions only, no branches or commits such as %s", t.Name.Canon, t.Version)
}
