package cargo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"larder/formats"
)

// manifest is the metadata of a publish request, as far as the index needs it
// (The Cargo Book, "Publish").
type manifest struct {
	Name        string              `json:"name"`
	Vers        string              `json:"vers"`
	Deps        manifestDeps        `json:"deps"`
	Features    map[string][]string `json:"features"`
	Description string              `json:"description"`
	Links       *string             `json:"links"`
	RustVersion *string             `json:"rust_version"`
}

// maxDeps bounds the dependencies of a crate: they are many times larger in
// memory than in JSON.
const maxDeps = 10_000

// errManyDeps tells a list beyond maxDeps.
var errManyDeps = errors.New("too many dependencies")

// manifestDeps is a list that stops at maxDeps while it is read.
type manifestDeps []manifestDep

// UnmarshalJSON implements json.Unmarshaler.
func (d *manifestDeps) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	switch tok, err := dec.Token(); {
	case err != nil:
		return err
	case tok == nil:
		return nil // null
	case tok != json.Delim('['):
		return errors.New("deps is not a list")
	}
	for dec.More() {
		if len(*d) == maxDeps {
			return errManyDeps
		}
		var one manifestDep
		if err := dec.Decode(&one); err != nil {
			return err
		}
		*d = append(*d, one)
	}
	return nil
}

// manifestDep is one dependency of a publish request.
type manifestDep struct {
	Name           string          `json:"name"`
	VersionReq     string          `json:"version_req"`
	Features       []string        `json:"features"`
	Optional       bool            `json:"optional"`
	DefaultFeature bool            `json:"default_features"`
	Target         *string         `json:"target"`
	Kind           string          `json:"kind"`
	Registry       *string         `json:"registry"`
	ExplicitName   *string         `json:"explicit_name_in_toml"`
	Artifact       json.RawMessage `json:"artifact"`      // unstable, as are the next two; the index has the
	BindepTarget   json.RawMessage `json:"bindep_target"` // same members
	Lib            json.RawMessage `json:"lib"`
}

// indexLine is a line of an index file in the order in which registries write
// it (The Cargo Book, "Index format").
type indexLine struct {
	Name        string              `json:"name"`
	Vers        string              `json:"vers"`
	Deps        []indexDep          `json:"deps"`
	Cksum       string              `json:"cksum"`
	Features    map[string][]string `json:"features"`
	Yanked      bool                `json:"yanked"`
	Links       *string             `json:"links,omitempty"`
	V           int                 `json:"v,omitempty"`
	Features2   map[string][]string `json:"features2,omitempty"`
	RustVersion *string             `json:"rust_version,omitempty"`
	PubTime     string              `json:"pubtime"`
}

// indexDep is one dependency of an index line. Without a registry it lies in
// the registry that the line is read from, which is also what its absence means
// in a publish request.
type indexDep struct {
	Name           string          `json:"name"` // as Cargo.toml has it, renamed or not
	Req            string          `json:"req"`
	Features       []string        `json:"features"`
	Optional       bool            `json:"optional"`
	DefaultFeature bool            `json:"default_features"`
	Target         *string         `json:"target"`
	Kind           string          `json:"kind"`
	Registry       *string         `json:"registry,omitempty"`
	Package        *string         `json:"package,omitempty"` // its real name, where renamed
	Artifact       json.RawMessage `json:"artifact,omitempty"`
	BindepTarget   json.RawMessage `json:"bindep_target,omitempty"`
	Lib            json.RawMessage `json:"lib,omitempty"`
}

// Grammars of a publish request.
var (
	// requirement is what the semver crate takes: comparators separated by commas.
	requirement = regexp.MustCompile(`^` + comparator + `(,` + comparator + `)*$`)
	// rustVersion is a version of one to three numbers.
	rustVersion = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9}){0,2}$`)
)

const comparator = `\s*([~^=]|[<>]=?)?\s*([0-9]+|[*xX])(\.([0-9]+|[*xX])){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?\s*`

// parseManifest reads and checks the metadata: what other clients would trip
// over must not get into an index.
func parseManifest(data []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); errors.Is(err, errManyDeps) {
		return nil, formats.Refuse(formats.TooLarge, "the crate has more than %d dependencies", maxDeps)
	} else if err != nil {
		return nil, formats.Refuse(formats.BadRequest, "the crate's metadata is not the JSON that cargo publish sends").Because(err)
	}
	if reason := badCrateName(m.Name); reason != "" {
		return nil, formats.Refuse(formats.BadRequest, "%.80q is not a name for a crate: %s", m.Name, reason)
	}
	if !validVersion(m.Vers) {
		return nil, formats.Refuse(formats.BadRequest, "%.80q is not a semantic version", m.Vers)
	}
	for i := range m.Deps {
		if err := m.Deps[i].check(); err != nil {
			return nil, formats.Refuse(formats.BadRequest, "dependency %.80q: %s", m.Deps[i].Name, err)
		}
	}
	for feature, values := range m.Features {
		if !plain(feature) || strings.ContainsAny(feature, ":/?") {
			return nil, formats.Refuse(formats.BadRequest, "%.80q is not a name for a feature", feature)
		}
		for _, v := range values {
			if !plain(v) {
				return nil, formats.Refuse(formats.BadRequest, "feature %s has the bad value %.80q", feature, v)
			}
		}
	}
	if m.Links != nil && !plain(*m.Links) {
		return nil, formats.Refuse(formats.BadRequest, "links = %.80q is not a name", *m.Links)
	}
	if m.RustVersion != nil && !rustVersion.MatchString(*m.RustVersion) {
		return nil, formats.Refuse(formats.BadRequest, "rust-version = %.80q is not a version", *m.RustVersion)
	}
	return &m, nil
}

// badCrateName says why a new crate must not have a name, "" where it may. The
// rules are those that The Cargo Book recommends to registries ("Index format",
// name restrictions).
func badCrateName(name string) string {
	lower := strings.ToLower(name)
	switch {
	case !validName(name):
		return fmt.Sprintf("it has at most %d letters, digits, - and _", maxName)
	case lower[0] < 'a' || lower[0] > 'z':
		return "it begins with a letter"
	case lower == "con" || lower == "prn" || lower == "aux" || lower == "nul" ||
		len(lower) == 4 && (lower[:3] == "com" || lower[:3] == "lpt") && '0' <= lower[3] && lower[3] <= '9':
		return "Windows keeps it for a device"
	}
	return ""
}

func (d *manifestDep) check() error {
	if d.Kind == "" {
		d.Kind = "normal"
	}
	switch {
	case !validName(d.Name):
		return fmt.Errorf("not a crate name")
	case d.ExplicitName != nil && !validName(*d.ExplicitName):
		return fmt.Errorf("renamed to %.80q, which is not a crate name", *d.ExplicitName)
	case len(d.VersionReq) > 1000 || !requirement.MatchString(d.VersionReq):
		return fmt.Errorf("%.80q is not a version requirement", d.VersionReq)
	case d.Kind != "normal" && d.Kind != "dev" && d.Kind != "build":
		return fmt.Errorf("its kind is %.80q, not normal, dev or build", d.Kind)
	case d.Registry != nil && (!plain(*d.Registry) || !strings.Contains(*d.Registry, "://")):
		return fmt.Errorf("its registry %.80q is not a URL", *d.Registry)
	case d.Target != nil && (*d.Target == "" || len(*d.Target) > 1000 || strings.ContainsFunc(*d.Target, unicode.IsControl)):
		return fmt.Errorf("its target is not a platform")
	}
	for _, feature := range d.Features {
		if !plain(feature) {
			return fmt.Errorf("it is asked for the bad feature %.80q", feature)
		}
	}
	return nil
}

// plain reports whether s is a short word without space and control characters.
func plain(s string) bool {
	return s != "" && len(s) <= 1000 && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar
	})
}

// line is the crate's line in the index. pubtime has no fraction and ends in Z,
// which is all that cargo's own parser takes.
func (m *manifest) line(cksum string, at time.Time) ([]byte, error) {
	out := indexLine{Name: m.Name, Vers: m.Vers, Deps: []indexDep{}, Cksum: cksum, Features: map[string][]string{},
		Links: m.Links, RustVersion: m.RustVersion, PubTime: at.UTC().Format("2006-01-02T15:04:05Z")}
	for _, d := range m.Deps {
		dep := indexDep{Name: d.Name, Req: strings.TrimSpace(d.VersionReq), Features: list(d.Features), Optional: d.Optional,
			DefaultFeature: d.DefaultFeature, Target: d.Target, Kind: d.Kind, Registry: d.Registry,
			Artifact: d.Artifact, BindepTarget: d.BindepTarget, Lib: d.Lib}
		if d.ExplicitName != nil {
			dep.Name, dep.Package = *d.ExplicitName, &d.Name
		}
		out.Deps = append(out.Deps, dep)
	}
	for feature, values := range m.Features {
		if newSyntax(values) {
			if out.Features2 == nil {
				out.V, out.Features2 = 2, map[string][]string{}
			}
			out.Features2[feature] = list(values)
		} else {
			out.Features[feature] = list(values)
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // ">=1" stays readable
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("write the index line of %s %s: %w", m.Name, m.Vers, err)
	}
	line := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(line) > maxLine {
		return nil, formats.Refuse(formats.TooLarge, "the index line of %s %s has more than %d bytes", m.Name, m.Vers, maxLine)
	}
	return line, nil
}

// newSyntax reports values that clients before 1.60 cannot read; they pass over
// lines with "v":2, and features2 keeps the rest of the line readable.
func newSyntax(values []string) bool {
	for _, v := range values {
		if strings.HasPrefix(v, "dep:") || strings.Contains(v, "?/") {
			return true
		}
	}
	return false
}

// list is s, or an empty list where JSON would have null.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
