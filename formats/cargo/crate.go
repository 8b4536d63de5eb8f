package cargo

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"larder/formats"
)

// Limits on the archive of a crate.
const (
	maxUnpacked  = 512 << 20 // bytes of the tar stream; cargo refuses to unpack more (MAX_UNPACK_SIZE)
	maxEntries   = 1 << 16
	maxEntryName = 4 << 10  // bytes
	maxAllNames  = 16 << 20 // bytes of all names together
	maxCargoTOML = 1 << 20  // bytes; it is parsed in memory
)

// packageTable is the part of Cargo.toml that larder reads. cargo package
// writes it with everything inherited filled in.
type packageTable struct {
	Name        string `toml:"name"`
	Version     any    `toml:"version"` // a string, or a table where a workspace fills it in
	Description string `toml:"description"`
	Homepage    string `toml:"homepage"`
	Repository  string `toml:"repository"`
	License     string `toml:"license"`
	Readme      any    `toml:"readme"` // a path, or a bool
}

// refuseCrate tells the publisher what is wrong with the archive.
func refuseCrate(name, version string, err error) error {
	return formats.Refuse(formats.BadRequest, "the archive of %s %s is refused: %v", name, version, err).Because(err)
}

// inspectCrate checks that f is a package as cargo makes them: one gzip member,
// one tar, plain files below NAME-VERSION/, each once, whose Cargo.toml is of
// that name and version. It counts what really comes out of the compression.
func inspectCrate(f formats.File, name, version string) error {
	top := name + "-" + version + "/"
	seen := make(entryNames)
	var manifest []byte
	err := eachEntry(f, maxUnpacked, func(hdr *tar.Header, body io.Reader) error {
		rest, err := entryName(hdr, top)
		if err != nil || rest == "" {
			return err
		}
		if err := seen.add(rest, hdr.Typeflag == tar.TypeDir); err != nil {
			return err
		}
		if rest != "Cargo.toml" {
			return nil
		}
		manifest, err = readEntry(body, maxCargoTOML)
		return err
	})
	if err != nil {
		return err
	}
	if manifest == nil {
		return fmt.Errorf("it has no file %sCargo.toml", top)
	}
	table, err := parseCargoTOML(manifest)
	if err != nil {
		return err
	}
	if table.Name != name || table.Version != version {
		return fmt.Errorf("its Cargo.toml is of %.80q %.80q", table.Name, fmt.Sprint(table.Version))
	}
	return nil
}

// parseCargoTOML reads the package table.
func parseCargoTOML(data []byte) (packageTable, error) {
	var doc struct {
		Package packageTable `toml:"package"`
	}
	if err := toml.Unmarshal(data, &doc); err != nil {
		return packageTable{}, fmt.Errorf("its Cargo.toml cannot be read: %w", err)
	}
	return doc.Package, nil
}

// eachEntry walks the archive of a crate, and then sees to it that nothing
// stands behind its end: readers differ in what they make of that.
func eachEntry(f formats.File, limit int64, visit func(hdr *tar.Header, body io.Reader) error) error {
	packed := bufio.NewReader(io.NewSectionReader(f, 0, f.Size()))
	z, err := gzip.NewReader(packed)
	if err != nil {
		return fmt.Errorf("it is not compressed with gzip: %w", err)
	}
	z.Multistream(false)
	counted := &counter{r: z, left: limit}
	entries, names := 0, 0
	for tr := tar.NewReader(counted); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		entries++
		names += len(hdr.Name)
		switch {
		case entries > maxEntries:
			return fmt.Errorf("it has more than %d entries", maxEntries)
		case len(hdr.Name) > maxEntryName || names > maxAllNames:
			return errors.New("its names are too long")
		}
		if err := visit(hdr, tr); err != nil {
			return err
		}
	}
	if err := onlyZeros(counted); err != nil {
		return err
	}
	if _, err := packed.Peek(1); err != io.EOF {
		return errors.New("more bytes follow the end of the compressed archive")
	}
	return nil
}

// onlyZeros reads the padding behind the end of a tar, which also has gzip
// check its checksum.
func onlyZeros(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("more bytes follow the end of the tar archive")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read its end: %w", err)
		}
	}
}

// entryName is the path of an entry below the top folder, "" for the folder
// itself. Links, devices and sparse files are none that cargo package writes.
func entryName(hdr *tar.Header, top string) (string, error) {
	if hdr.Typeflag != tar.TypeReg && hdr.Typeflag != tar.TypeDir {
		return "", fmt.Errorf("entry %.200q is neither a file nor a directory", hdr.Name)
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", fmt.Errorf("entry %.200q is a sparse file", hdr.Name)
		}
	}
	name := hdr.Name
	if hdr.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
		if name+"/" == top {
			return "", nil
		}
	}
	rest, ok := strings.CutPrefix(name, top)
	if !ok {
		return "", fmt.Errorf("entry %.200q is outside %s", hdr.Name, top)
	}
	if rest == "" || path.Clean("/"+rest) != "/"+rest || strings.ContainsRune(rest, '\\') || !utf8.ValidString(rest) || strings.ContainsFunc(rest, unicode.IsControl) {
		return "", fmt.Errorf("entry %.200q is not a clean path", hdr.Name)
	}
	return rest, nil
}

// entryNames finds paths that are one on a file system without case. The value
// says that the path is a directory.
type entryNames map[string]bool

func (e entryNames) add(name string, dir bool) error {
	key := strings.ToLower(name)
	if was, ok := e[key]; ok && !(was && dir) {
		return fmt.Errorf("entry %.200q is there twice, or differs by case alone", name)
	}
	e[key] = dir
	return nil
}

// readEntry reads a whole entry of at most limit bytes.
func readEntry(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read an entry: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("an entry that has to be read has more than %d bytes", limit)
	}
	return data, nil
}

// errUnpacked tells an archive that unpacks to too much.
var errUnpacked = errors.New("it unpacks to more bytes than cargo takes")

// counter fails once more bytes came out of the compression than allowed.
type counter struct {
	r    io.Reader
	left int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errUnpacked
	}
	return n, err
}
