package pypitest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Package describes a distribution to build. The zero values of all but Name
// and Version are sensible: one pure wheel without dependencies.
type Package struct {
	Name           string // in any spelling; file names and METADATA keep it
	Version        string
	Summary        string
	RequiresPython string
	Requires       []string // Requires-Dist lines, markers included
	Extras         []string
	Scripts        map[string]string // console command -> text it prints
	Size           int               // bytes of incompressible filler
	NoWheel        bool              // only a source distribution
	Source         bool              // a source distribution besides the wheel
	Bare           bool              // the index offers no core metadata beside the wheel
	Yanked         bool
	YankedReason   string
	Proven         bool // the index offers a provenance object
	At             time.Time
}

// module is the import name: the project name as an identifier.
func (p Package) module() string { return strings.ReplaceAll(normalize(p.Name), "-", "_") }

// stem is NAME-VERSION as file names carry it, the name's spelling kept as old
// tools did.
func (p Package) stem() string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(p.Name) + "-" + p.Version
}

// metadata is the core metadata (version 2.1).
func (p Package) metadata() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n", p.Name, p.Version)
	if p.Summary != "" {
		fmt.Fprintf(&b, "Summary: %s\n", p.Summary)
	}
	if p.RequiresPython != "" {
		fmt.Fprintf(&b, "Requires-Python: %s\n", p.RequiresPython)
	}
	for _, line := range p.Requires {
		fmt.Fprintf(&b, "Requires-Dist: %s\n", line)
	}
	for _, extra := range p.Extras {
		fmt.Fprintf(&b, "Provides-Extra: %s\n", extra)
	}
	b.WriteString("\nA tiny package for tests.\n")
	return b.String()
}

// modules are the importable files.
func (p Package) modules() map[string][]byte {
	var code strings.Builder
	fmt.Fprintf(&code, "__version__ = %q\n", p.Version)
	for _, command := range slices.Sorted(maps.Keys(p.Scripts)) {
		fmt.Fprintf(&code, "\n\ndef %s():\n    print(%q)\n", strings.ReplaceAll(command, "-", "_"), p.Scripts[command])
	}
	files := map[string][]byte{p.module() + "/__init__.py": []byte(code.String())}
	if p.Size > 0 {
		files[p.module()+"/filler.bin"] = filler(p.Size)
	}
	return files
}

func (p Package) entryPoints() string {
	if len(p.Scripts) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("[console_scripts]\n")
	for _, command := range slices.Sorted(maps.Keys(p.Scripts)) {
		fmt.Fprintf(&b, "%s = %s:%s\n", command, p.module(), strings.ReplaceAll(command, "-", "_"))
	}
	return b.String()
}

// wheel builds NAME-VERSION-py3-none-any.whl with a valid RECORD.
func (p Package) wheel() (file string, body, metadata []byte) {
	metadata = []byte(p.metadata())
	info := p.stem() + ".dist-info/"
	files := p.modules()
	files[info+"METADATA"] = metadata
	files[info+"WHEEL"] = []byte("Wheel-Version: 1.0\nGenerator: pypitest\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
	if text := p.entryPoints(); text != "" {
		files[info+"entry_points.txt"] = []byte(text)
	}
	var record strings.Builder
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		sum := sha256.Sum256(files[name])
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[name]))
	}
	record.WriteString(info + "RECORD,,\n")
	files[info+"RECORD"] = []byte(record.String())
	return p.stem() + "-py3-none-any.whl", Zip(append(names, info+"RECORD"), files), metadata
}

// Zip packs files in the given order, with fixed times.
func Zip(order []string, files map[string][]byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range order {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// backend builds a wheel with the standard library alone, so that a source
// distribution installs without any build requirement (PEP 517, in-tree).
const backend = `import base64, hashlib, os, zipfile


def _files():
    out = {}
    for top, _, names in os.walk("src"):
        for name in names:
            path = os.path.join(top, name)
            with open(path, "rb") as f:
                out[os.path.relpath(path, "src").replace(os.sep, "/")] = f.read()
    return out


def _text(name):
    with open(name, "rb") as f:
        return f.read()


def get_requires_for_build_wheel(config_settings=None):
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    stem = _text("STEM").decode().strip()
    info = stem + ".dist-info/"
    files = _files()
    files[info + "METADATA"] = _text("PKG-INFO")
    files[info + "WHEEL"] = b"Wheel-Version: 1.0\nGenerator: pypitest\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = ""
    for name, data in sorted(files.items()):
        sum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\n" % (name, sum, len(data))
    files[info + "RECORD"] = (record + info + "RECORD,,\n").encode()
    file = stem + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, file), "w") as z:
        for name, data in sorted(files.items()):
            z.writestr(name, data)
    return file
`

// source builds NAME-VERSION.tar.gz.
func (p Package) source() (file string, body []byte) {
	files := map[string][]byte{
		"PKG-INFO":       []byte(p.metadata()),
		"STEM":           []byte(p.stem() + "\n"),
		"backend.py":     []byte(backend),
		"pyproject.toml": []byte("[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"),
	}
	for name, data := range p.modules() {
		files["src/"+name] = data
	}
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	t := tar.NewWriter(gz)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: p.stem() + "/" + name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
		err := t.WriteHeader(h)
		if err == nil {
			_, err = t.Write(files[name])
		}
		if err != nil {
			panic(err)
		}
	}
	if err := t.Close(); err != nil {
		panic(err)
	}
	if err := gz.Close(); err != nil {
		panic(err)
	}
	return p.stem() + ".tar.gz", b.Bytes()
}

// filler is n bytes that do not compress and are the same in every run.
func filler(n int) []byte {
	out := make([]byte, 0, n+sha256.Size)
	block := sha256.Sum256([]byte("pypitest"))
	for len(out) < n {
		out = append(out, block[:]...)
		block = sha256.Sum256(block[:])
	}
	return out[:n]
}
