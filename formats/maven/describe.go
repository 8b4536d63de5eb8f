package maven

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"larder/formats"
)

const (
	maxDependencies = 10_000
	maxText         = 64 << 10 // bytes of one element
	maxExpanded     = 4 << 20  // bytes that all expressions of a POM may become
)

// project is what larder reads of a POM (Maven model 4.0.0), as it lies there:
// parents and profiles are not looked at.
type project struct {
	XMLName      xml.Name        `xml:"project"`
	Parent       pomID           `xml:"parent"`
	Group        string          `xml:"groupId"`
	Artifact     string          `xml:"artifactId"`
	Version      string          `xml:"version"`
	Packaging    string          `xml:"packaging"`
	Name         string          `xml:"name"`
	Description  string          `xml:"description"`
	URL          string          `xml:"url"`
	SCM          string          `xml:"scm>url"`
	Licenses     []pomLicense    `xml:"licenses>license"`
	Dependencies []pomDependency `xml:"dependencies>dependency"`
	Properties   properties      `xml:"properties"`
}

type pomID struct {
	Group    string `xml:"groupId"`
	Artifact string `xml:"artifactId"`
	Version  string `xml:"version"`
}

type pomLicense struct {
	Name string `xml:"name"`
	URL  string `xml:"url"`
}

type pomDependency struct {
	pomID
	Scope    string `xml:"scope"`
	Optional string `xml:"optional"`
}

// properties are the children of <properties>, by name.
type properties map[string]string

// UnmarshalXML implements xml.Unmarshaler.
func (p *properties) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	if *p == nil {
		*p = properties{}
	}
	for {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			var text string
			if err := d.DecodeElement(&text, &tok); err != nil {
				return err
			}
			(*p)[tok.Name.Local] = strings.TrimSpace(text)
		case xml.EndElement:
			return nil
		}
	}
}

// pomModel is a POM with its expressions.
type pomModel struct {
	project
	expression *regexp.Regexp
	budget     int // bytes that expressions may still become
}

func readProject(f formats.File) (*pomModel, error) {
	if f.Size() > maxPOM {
		return nil, fmt.Errorf("it has %d bytes, more than %d", f.Size(), maxPOM)
	}
	dec := xml.NewDecoder(io.NewSectionReader(f, 0, f.Size()))
	dec.CharsetReader = latin1
	dec.Entity = xml.HTMLEntity // Maven's own parser knows these
	p := &pomModel{expression: regexp.MustCompile(`\$\{([^${}]*)\}`), budget: maxExpanded}
	err := dec.Decode(&p.project)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it has no <project>")
	}
	return p, err
}

func (p *pomModel) id() pomID {
	id := pomID{p.Group, p.Artifact, p.Version}
	if strings.TrimSpace(id.Group) == "" {
		id.Group = p.Parent.Group
	}
	if strings.TrimSpace(id.Version) == "" {
		id.Version = p.Parent.Version
	}
	return id
}

// value resolves the expressions that this POM alone can; others stay as they
// are.
func (p *pomModel) value(s string) string {
	return p.expand(strings.TrimSpace(s), map[string]bool{})
}

func (p *pomModel) expand(s string, open map[string]bool) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return p.expression.ReplaceAllStringFunc(s, func(expr string) string {
		key := expr[2 : len(expr)-1]
		text, ok := p.lookup(key)
		if !ok || open[key] || len(text) > maxText || len(text) >= p.budget {
			return expr
		}
		p.budget -= len(text) + 1
		open[key] = true
		text = p.expand(text, open)
		delete(open, key)
		return text
	})
}

// lookup finds a property, or a member of the model under its usual prefixes.
func (p *pomModel) lookup(key string) (string, bool) {
	if v, ok := p.Properties[key]; ok {
		return v, true
	}
	short := key
	for _, prefix := range []string{"project.", "pom."} {
		short = strings.TrimPrefix(short, prefix)
	}
	id := p.id()
	text := ""
	switch short {
	case "groupId":
		text = id.Group
	case "artifactId":
		text = id.Artifact
	case "version":
		text = id.Version
	case "name":
		text = p.Name
	case "url":
		text = p.URL
	case "parent.groupId":
		text = p.Parent.Group
	case "parent.artifactId":
		text = p.Parent.Artifact
	case "parent.version":
		text = p.Parent.Version
	}
	text = strings.TrimSpace(text)
	return text, text != ""
}

// checkPOM demands that a POM is of the coordinate it is deployed under. An
// expression that this POM cannot resolve, or that a command line may override
// (Maven's "CI friendly versions"), proves nothing and is let pass.
func checkPOM(t formats.Target, f formats.File) error {
	p, err := readProject(f)
	if err != nil {
		return formats.Refuse(formats.BadRequest, "%s is not a POM: %v", t.File, err).Because(err)
	}
	group, artifact := coordinates(t.Name)
	id := p.id()
	for _, c := range []struct{ what, says, want string }{
		{"groupId", id.Group, group}, {"artifactId", id.Artifact, artifact}, {"version", id.Version, directory(t.Version)},
	} {
		is := p.value(c.says)
		if is == c.want || c.what == "version" && is == t.Version || isOpen(c.says) || strings.Contains(is, "${") {
			continue
		}
		return formats.Refuse(formats.BadRequest, "%s says %s %.200q, but is deployed as %.200q", t.File, c.what, is, c.want)
	}
	return nil
}

func isOpen(text string) bool {
	for _, name := range []string{"${revision}", "${sha1}", "${changelist}"} {
		if strings.Contains(text, name) {
			return true
		}
	}
	return false
}

// Describe reads a version's POM. A snapshot itself has none: Build names the
// row to describe in its place.
func (f *Format) Describe(n formats.Name, v *formats.Version, open func(string) (formats.OpenFile, error)) (*formats.Facts, error) {
	name := pomFile(n, v.V)
	if _, ok := v.Held[name]; !ok {
		return &formats.Facts{}, nil
	}
	file, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	p, err := readProject(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	facts := &formats.Facts{DisplayName: p.value(p.Name), Summary: p.value(p.Description), HomePage: p.value(p.URL), SourceCode: p.value(p.SCM)}
	for _, l := range p.Licenses[:min(len(p.Licenses), 100)] {
		facts.Licenses = append(facts.Licenses, formats.License{Name: p.value(l.Name), URL: p.value(l.URL)})
	}
	if strings.TrimSpace(p.Parent.Artifact) != "" {
		facts.Dependencies = append(facts.Dependencies, p.dependency(p.Parent, "parent"))
	}
	for _, d := range p.Dependencies[:min(len(p.Dependencies), maxDependencies)] {
		scope := p.value(d.Scope)
		switch {
		case p.value(d.Optional) == "true":
			scope = "optional"
		case scope == "":
			scope = "compile" // the model's default
		}
		facts.Dependencies = append(facts.Dependencies, p.dependency(d.pomID, scope))
	}
	return facts, nil
}

// dependency has no requirement where a parent or a bill of materials says it.
func (p *pomModel) dependency(id pomID, kind string) formats.Dependency {
	return formats.Dependency{Namespace: p.value(id.Group), Package: p.value(id.Artifact), Type: kind, Requirement: p.value(id.Version)}
}
