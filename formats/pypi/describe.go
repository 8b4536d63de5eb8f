package pypi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"larder/formats"
)

// maxReadme bounds a description, in bytes; maxLicense a licence's name, which
// old packages take for the place of the whole text; maxSource the source
// distribution that is unpacked to be described.
const (
	maxReadme  = 1 << 20
	maxLicense = 256
	maxSource  = 64 << 20
	maxTried   = 8 // files looked into until one tells
)

// dependencyType is CodeArtifact's word for what a Python package needs.
const dependencyType = "Requires-Dist"

// Describe reads the facts of a version from the core metadata of one of its
// files: that kept beside a wheel, else a wheel's own, else a source
// distribution's PKG-INFO. A version of which none is held has no facts but
// its name.
func (f *Format) Describe(n formats.Name, v *formats.Version, open func(file string) (formats.OpenFile, error)) (*formats.Facts, error) {
	facts := &formats.Facts{DisplayName: n.Show()}
	for _, file := range describing(v) {
		text, err := f.heldMetadata(n, v, file, open)
		if errors.Is(err, errUnreadable) {
			continue // a file that upstream published and no rule here has checked
		}
		if err != nil {
			return nil, err
		}
		m, err := readCoreMetadata(text)
		if err != nil || normalizeName(m.first("name")) != n.Canon {
			continue
		}
		m.describe(facts)
		break
	}
	return facts, nil
}

// describing lists the held files that may hold core metadata, cheapest first.
func describing(v *formats.Version) []string {
	var beside, wheels, sources []string
	for file, held := range v.Held {
		dist, suffix, companion := companionOf(file)
		switch {
		case companion && suffix == metadataSuffix && strings.HasSuffix(dist, ".whl"):
			beside = append(beside, file)
		case strings.HasSuffix(file, ".whl"):
			wheels = append(wheels, file)
		case held.Size <= maxSource && (strings.HasSuffix(file, ".tar.gz") || strings.HasSuffix(file, ".zip")):
			sources = append(sources, file)
		}
	}
	for _, files := range [...][]string{beside, wheels, sources} {
		slices.Sort(files)
	}
	all := slices.Concat(beside, wheels, sources)
	return all[:min(len(all), maxTried)]
}

var errUnreadable = errors.New("file without readable metadata")

func (f *Format) heldMetadata(n formats.Name, v *formats.Version, file string, open func(file string) (formats.OpenFile, error)) ([]byte, error) {
	held, err := open(file)
	if errors.Is(err, formats.ErrNoDocument) {
		return nil, errUnreadable
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	defer held.Close()
	w := &watchedFile{File: held}
	var text []byte
	if _, suffix, _ := companionOf(file); suffix == metadataSuffix {
		text, err = readHead(w, maxMetadata)
	} else if strings.HasSuffix(file, ".whl") {
		text, err = wheelMetadata(formats.Target{Name: n, Version: v.V, File: file}, w)
	} else {
		d := &distribution{file: file, canon: n.Canon, version: v.V, filetype: typeSource}
		text, err = d.inspect(context.Background(), w)
	}
	switch {
	case w.err != nil:
		return nil, fmt.Errorf("read %s: %w", file, w.err)
	case err != nil:
		return nil, errUnreadable
	}
	return text, nil
}

func (m *coreMetadata) describe(facts *formats.Facts) {
	if name := m.first("name"); validName(name) {
		facts.DisplayName = name
	}
	facts.Summary = m.said("summary")
	facts.HomePage = webAddress(m.said("home-page"))
	for _, value := range m.fields["project-url"] {
		label, address, ok := strings.Cut(value, ",")
		if !ok {
			continue
		}
		address = webAddress(strings.TrimSpace(address))
		switch wellKnown(label) {
		case "homepage":
			if facts.HomePage == "" {
				facts.HomePage = address
			}
		case "source", "repository", "sourcecode", "github":
			if facts.SourceCode == "" {
				facts.SourceCode = address
			}
		}
	}
	facts.Licenses = m.licenses()
	for _, value := range m.fields["requires-dist"] {
		if dep, ok := parseRequirement(value); ok {
			facts.Dependencies = append(facts.Dependencies, dep)
		}
	}
	if text := m.description(); len(text) <= maxReadme {
		facts.Readme = text
	}
}

// said is a field's first value on one line; old tools write UNKNOWN for none.
func (m *coreMetadata) said(key string) string {
	text := strings.Join(strings.Fields(m.first(key)), " ")
	if text == "UNKNOWN" {
		return ""
	}
	return text
}

// wellKnown normalises the label of a project URL (core metadata, "Well-known
// labels").
func wellKnown(label string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && alnum(byte(r)) {
			return r
		}
		return -1
	}, strings.ToLower(label))
}

// webAddress passes on http addresses only: the text ends in a link.
func webAddress(s string) string {
	if u, err := resolve(nil, s); err != nil || u == nil {
		return ""
	}
	return s
}

// licenses are the licence expression (PEP 639), else the free text where it is
// a name, else the classifiers.
func (m *coreMetadata) licenses() []formats.License {
	if expression := m.said("license-expression"); expression != "" {
		return []formats.License{{Name: expression}}
	}
	if text := m.said("license"); text != "" && len(text) <= maxLicense {
		return []formats.License{{Name: text}}
	}
	var out []formats.License
	for _, value := range m.fields["classifier"] {
		if rest, ok := strings.CutPrefix(value, "License ::"); ok {
			if i := strings.LastIndex(rest, "::"); i >= 0 {
				rest = rest[i+2:]
			}
			if rest = strings.TrimSpace(rest); rest != "OSI Approved" {
				out = append(out, formats.License{Name: rest})
			}
		}
	}
	return out
}

// parseRequirement splits a dependency specifier (PEP 508) behind its name; the
// rest, extras and marker included, is the requirement.
func parseRequirement(value string) (formats.Dependency, bool) {
	value = strings.Join(strings.Fields(value), " ")
	end := 0
	for end < len(value) && (alnum(value[end]) || separator(value[end])) {
		end++
	}
	name := value[:end]
	if !validName(name) {
		return formats.Dependency{}, false
	}
	return formats.Dependency{Package: normalizeName(name), Type: dependencyType, Requirement: strings.TrimSpace(value[end:])}, true
}
