package cargo

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"larder/formats"
)

var (
	_ formats.Publisher   = (*Format)(nil)
	_ formats.Coordinator = (*Format)(nil)
	_ formats.Describer   = (*Format)(nil)
)

// Limits of Describe. What lies beyond them is left out.
const (
	maxDescribed = 64 << 20 // bytes of a crate's tar stream that are read
	maxReadme    = 1 << 20  // bytes
)

// Coordinate: crates have no namespace; the package is the name in lower case.
func (*Format) Coordinate(n formats.Name) (namespace, pkg string) { return "", n.Canon }

// FromCoordinate takes any spelling of a crate's name.
func (*Format) FromCoordinate(namespace, pkg string) (formats.Name, error) {
	if namespace != "" {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "crates have no namespace")
	}
	if !validName(pkg) {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "%.80q is not a crate name", pkg)
	}
	return nameOf(pkg), nil
}

// AssetName is the name of the archive's file.
func (*Format) AssetName(_ formats.Name, _, file string) string { return file }

// FileName is the inverse of AssetName. It takes any spelling of the crate's
// name, so also the name that cargo gives to the file.
func (*Format) FileName(n formats.Name, version, asset string) string {
	if file := crateFile(n.Canon, version); strings.EqualFold(asset, file) {
		return file
	}
	return asset
}

// Describe takes the dependencies from the index line, and the rest from the
// Cargo.toml and the readme in the archive, where that is held.
func (*Format) Describe(n formats.Name, v *formats.Version, open func(file string) (formats.OpenFile, error)) (*formats.Facts, error) {
	facts := &formats.Facts{DisplayName: n.Show()}
	file := crateFile(n.Canon, v.V)
	if asset := v.Asset(file); asset != nil {
		facts.DisplayName = spelling(n, asset)
	}
	if len(v.Raw) > 0 {
		var line indexLine
		if err := json.Unmarshal(v.Raw, &line); err != nil {
			return nil, fmt.Errorf("read the index line of %s %s: %w", n.Canon, v.V, err)
		}
		for _, d := range line.Deps {
			dep := formats.Dependency{Package: d.Name, Type: d.Kind, Requirement: d.Req}
			if d.Package != nil {
				dep.Package = *d.Package
			}
			if dep.Type == "" {
				dep.Type = "normal"
			}
			facts.Dependencies = append(facts.Dependencies, dep)
		}
	}
	if _, held := v.Held[file]; !held {
		return facts, nil
	}
	f, err := open(file)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	defer f.Close()
	describeCrate(facts, f)
	return facts, nil
}

// errFound ends a walk through an archive.
var errFound = errors.New("found")

// describeCrate fills in what the archive says. A foreign one may be odd in any
// way; then it says nothing.
func describeCrate(facts *formats.Facts, f formats.File) {
	data := findEntry(f, "Cargo.toml", maxCargoTOML)
	if data == nil {
		return
	}
	table, err := parseCargoTOML(data)
	if err != nil {
		return
	}
	facts.Summary, facts.HomePage, facts.SourceCode = table.Description, table.Homepage, table.Repository
	if table.License != "" {
		facts.Licenses = []formats.License{{Name: table.License}}
	}
	readme := "README.md"
	switch r := table.Readme.(type) {
	case string:
		readme = path.Clean(r)
	case bool:
		if !r {
			return
		}
	}
	if text := findEntry(f, readme, maxReadme); utf8.Valid(text) {
		facts.Readme = string(text)
	}
}

// findEntry is the content of one file below the top folder, nil where it is
// not there or beyond the limits.
func findEntry(f formats.File, name string, limit int64) []byte {
	var out []byte
	err := eachEntry(f, maxDescribed, func(hdr *tar.Header, body io.Reader) error {
		if _, rest, ok := strings.Cut(hdr.Name, "/"); !ok || rest != name || hdr.Typeflag != tar.TypeReg {
			return nil
		}
		data, err := readEntry(body, limit)
		if err != nil {
			return err
		}
		out = data
		return errFound
	})
	if !errors.Is(err, errFound) {
		return nil
	}
	return out
}
