package maven

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"larder/formats"
)

// maxPOM bounds the part of a POM that is looked into; the largest known ones
// (generated bills of materials) have about a megabyte.
const maxPOM = 8 << 20

// pomFacts is kept in the asset row of a POM.
type pomFacts struct {
	Packaging string `json:"packaging"`
	Module    bool   `json:"module,omitempty"` // a Gradle .module file is published beside it
}

// Inspect reads a POM's packaging, which decides whether a version is complete
// without another file.
func (f *Format) Inspect(t formats.Target, file formats.File) ([]formats.Derived, []byte, error) {
	if !strings.HasSuffix(t.File, ".pom") {
		return nil, nil, nil
	}
	if file.Size() > maxPOM {
		return nil, nil, fmt.Errorf("%s has %d bytes, more than %d", t.File, file.Size(), maxPOM)
	}
	facts, err := readPOM(io.NewSectionReader(file, 0, file.Size()))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", t.File, err)
	}
	aux, err := json.Marshal(facts)
	if err != nil {
		return nil, nil, fmt.Errorf("encode facts of %s: %w", t.File, err)
	}
	return nil, aux, nil
}

// readPOM reads the elements directly below <project>. No entity is expanded.
func readPOM(r io.Reader) (pomFacts, error) {
	facts := pomFacts{Packaging: "jar"} // the POM's own default
	dec := xml.NewDecoder(r)
	dec.CharsetReader = latin1
	var path []string
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return facts, errors.New("no <project>")
		}
		if err != nil {
			return facts, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			path = append(path, tok.Name.Local)
			if path[0] != "project" {
				return facts, fmt.Errorf("root element is <%.40s>, not <project>", path[0])
			}
			if len(path) > 64 {
				return facts, errors.New("elements are nested deeper than 64")
			}
		case xml.CharData:
			if len(path) == 2 && path[1] == "packaging" {
				if p := strings.TrimSpace(string(tok)); p != "" && len(p) <= 128 {
					facts.Packaging = p
				}
			}
		case xml.Comment:
			// The marker by which Gradle 6 and newer know that they should ask
			// for the .module file (Gradle module metadata specification).
			if strings.Contains(string(tok), "published-with-gradle-metadata") {
				facts.Module = true
			}
		case xml.EndElement:
			if path = path[:len(path)-1]; len(path) == 0 {
				return facts, nil
			}
		}
	}
}

// latin1 reads the one-byte encodings that old POMs declare. What differs
// between them is not looked at here.
func latin1(charset string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "iso-8859-1", "iso-8859-15", "latin1", "windows-1252", "cp1252", "us-ascii", "ascii":
		return &latin1Reader{r: r}, nil
	}
	return nil, fmt.Errorf("encoding %q is not known", charset)
}

type latin1Reader struct {
	r       io.Reader
	pending byte
}

func (l *latin1Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.pending != 0 {
		p[0], l.pending = l.pending, 0
		return 1, nil
	}
	var one [1]byte
	if _, err := io.ReadFull(l.r, one[:]); err != nil {
		return 0, err
	}
	if c := one[0]; c >= 0x80 {
		p[0], l.pending = 0xC0|c>>6, 0x80|c&0x3F
		return 1, nil
	}
	p[0] = one[0]
	return 1, nil
}

// Available reports whether a client could use v from what is held: its POM,
// and, unless the POM is all there is to it, a file that can be put on a class
// path. A repository says nowhere which files a version has, so one such file
// must do. For a snapshot both must be of one build.
func (f *Format) Available(v *formats.Version) (*formats.Version, bool) {
	if _, ok := f.Build(v); ok {
		return v, true // its builds are rows of their own
	}
	type parts struct{ pom, alone, payload bool }
	builds := map[string]parts{}
	for file, held := range v.Held {
		key := buildKey(v.V, file)
		p := builds[key]
		switch {
		case strings.HasSuffix(file, ".pom"):
			var facts pomFacts
			p.pom = true
			p.alone = json.Unmarshal(held.Aux, &facts) == nil && facts.Packaging == "pom"
		case isPayload(file):
			p.payload = true
		}
		builds[key] = p
	}
	for _, p := range builds {
		if p.pom && (p.alone || p.payload) {
			return v, true
		}
	}
	return v, false
}

// buildKey is the timestamp and number in a snapshot's file name, "" otherwise.
func buildKey(version, file string) string {
	if !isSnapshot(version) {
		return ""
	}
	stem := "-" + strings.TrimSuffix(version, snapshot)
	for i := range len(file) {
		if rest, ok := strings.CutPrefix(file[i:], stem); ok {
			if stamp := leadingStamp(rest); stamp != "" {
				return stamp
			}
		}
	}
	return ""
}

// isPayload leaves out what accompanies an artifact.
func isPayload(file string) bool {
	if _, alg := cutChecksum(file); alg != "" || file == metadataFile {
		return false
	}
	for _, suffix := range []string{".asc", ".sigstore", ".sigstore.json", ".module", "-sources.jar", "-javadoc.jar"} {
		if strings.HasSuffix(file, suffix) {
			return false
		}
	}
	return true
}
