package golang

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"larder/formats"
)

var (
	_ formats.Coordinator = (*Format)(nil)
	_ formats.Describer   = (*Format)(nil)
)

// Limits of Describe. What lies beyond them is left out.
const (
	maxDescribedDirectory = 8 << 20 // bytes read to find a zip's directory
	maxDescribedEntries   = 1 << 16
	maxReadme             = 1 << 20 // bytes
)

// Coordinate: CodeArtifact has no format for Go. Modules have no namespace; the
// package is the module path with "%2F" for each "/", which neither a package
// of CodeArtifact nor, as "%", a module path can hold: the mapping is one for
// one. Case is kept.
func (*Format) Coordinate(n formats.Name) (namespace, pkg string) {
	return "", strings.ReplaceAll(n.Canon, "/", "%2F")
}

// FromCoordinate is the inverse of Coordinate. It takes "%2f" and "/" too.
func (*Format) FromCoordinate(namespace, pkg string) (formats.Name, error) {
	if namespace != "" {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "Go modules have no namespace; the package is the module path with %%2F for /")
	}
	path := strings.NewReplacer("%2F", "/", "%2f", "/").Replace(pkg)
	if len(path) > maxPath || module.CheckPath(path) != nil {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "%.200q is not a module path with %%2F for /", pkg)
	}
	return formats.Name{Canon: path}, nil
}

// AssetName is the file's name: VERSION.info, VERSION.mod or VERSION.zip.
func (*Format) AssetName(_ formats.Name, _, file string) string { return file }

// FileName is the inverse of AssetName.
func (*Format) FileName(_ formats.Name, _, asset string) string { return asset }

// Describe reads the requirements from go.mod and the readme at the root of the
// zip, as far as they are held.
func (f *Format) Describe(n formats.Name, v *formats.Version, open func(file string) (formats.OpenFile, error)) (*formats.Facts, error) {
	facts := &formats.Facts{DisplayName: n.Canon}
	for _, file := range []string{v.V + ".mod", v.V + ".zip"} {
		if _, held := v.Held[file]; !held {
			continue
		}
		data, err := open(file)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", file, err)
		}
		if strings.HasSuffix(file, ".mod") {
			facts.Dependencies = f.requirements(data)
		} else {
			facts.Readme = readmeOf(data, n.Canon+"@"+v.V+"/")
		}
		if err := data.Close(); err != nil {
			return nil, fmt.Errorf("close %s: %w", file, err)
		}
	}
	return facts, nil
}

// requirements are the require directives: "direct", or "indirect" where go says
// so. An odd foreign file has none.
func (f *Format) requirements(file formats.File) []formats.Dependency {
	if file.Size() > maxPublishedGoMod {
		return nil
	}
	data, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
	if err != nil {
		return nil
	}
	parsed, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return nil
	}
	var out []formats.Dependency
	for _, r := range parsed.Require {
		_, pkg := f.Coordinate(formats.Name{Canon: r.Mod.Path})
		dep := formats.Dependency{Package: pkg, Type: "direct", Requirement: r.Mod.Version}
		if r.Indirect {
			dep.Type = "indirect"
		}
		out = append(out, dep)
	}
	return out
}

// readmeOf is the text of the readme at a zip's root, "" without one.
func readmeOf(file formats.File, root string) string {
	z, err := openZip(file, maxDescribedDirectory, maxDescribedEntries)
	if err != nil {
		return ""
	}
	wanted := []string{"readme.md", "readme", "readme.txt", "readme.rst"}
	best := len(wanted)
	var found *zip.File
	for _, zf := range z.File {
		name, ok := strings.CutPrefix(zf.Name, root)
		if rank := slices.Index(wanted, strings.ToLower(name)); ok && rank >= 0 && rank < best {
			best, found = rank, zf
		}
	}
	if found == nil {
		return ""
	}
	text, err := readZipEntry(found, maxReadme)
	if err != nil || !utf8.Valid(text) {
		return ""
	}
	return string(text)
}

// readZipEntry reads one file of at most limit bytes, whatever its header says.
func readZipEntry(zf *zip.File, limit int64) ([]byte, error) {
	rc, err := zf.Open()
	if err != nil {
		return nil, fmt.Errorf("open %.200q: %w", zf.Name, err)
	}
	data, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err = errors.Join(err, rc.Close()); err != nil {
		return nil, fmt.Errorf("read %.200q: %w", zf.Name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%.200q has more than %d bytes", zf.Name, limit)
	}
	return data, nil
}
