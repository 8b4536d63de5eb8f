package maventest

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Epoch is the publication time of the first default content.
var Epoch = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

// Dep is a dependency, a managed dependency or (Type "pom", Scope "import") a
// bill of materials.
type Dep struct {
	Group, Artifact, Version string // Version "" where it is managed
	Classifier, Type, Scope  string
	Optional                 bool
}

// Package describes one version to publish.
type Package struct {
	Group, Artifact, Version string
	Packaging                string // "" is jar
	Parent                   *Dep
	Deps, Managed            []Dep
	Classifiers              []string  // further jars: "tests", "sources", "linux-x86_64"
	Module                   bool      // publish Gradle module metadata beside the POM
	Relocated                *Dep      // distributionManagement/relocation
	Signed                   bool      // publish .asc beside each file (not a real signature)
	Padding                  int       // bytes of incompressible filler in the jar
	Note                     string    // a word in the jars, so that two builds differ
	At                       time.Time // publication; zero: Epoch
}

// Add publishes a release, or a snapshot version in its non-unique form.
func (r *Registry) Add(p Package) { r.publish(p, p.Version, 0) }

// AddSnapshot publishes one timestamped build of a -SNAPSHOT version.
func (r *Registry) AddSnapshot(p Package, at time.Time, number int) {
	p.At = at
	value := strings.TrimSuffix(p.Version, "SNAPSHOT") + at.UTC().Format("20060102.150405") + fmt.Sprintf("-%d", number)
	r.publish(p, value, number)
}

func (r *Registry) publish(p Package, value string, number int) {
	if p.At.IsZero() {
		p.At = Epoch
	}
	dir, stem := Dir(p.Group, p.Artifact, p.Version), p.Artifact+"-"+value
	put := func(classifier, ext string, body []byte) {
		name := stem
		if classifier != "" {
			name += "-" + classifier
		}
		r.Put(dir+name+"."+ext, body, p.At)
		r.built(p, snapshotFile{classifier, ext, value, p.At.UTC(), number})
		if p.Signed {
			r.Put(dir+name+"."+ext+".asc", []byte("-----BEGIN PGP SIGNATURE-----\n\n"+name+"\n-----END PGP SIGNATURE-----\n"), p.At)
		}
	}
	put("", "pom", p.pom())
	if p.Packaging != "pom" && p.Relocated == nil {
		put("", "jar", p.jar("", value))
	}
	for _, c := range p.Classifiers {
		put(c, "jar", p.jar(c, value))
	}
	if p.Module {
		put("", "module", p.module())
	}
	r.list(p)
}

// built notes a timestamped file for the snapshot-level metadata.
func (r *Registry) built(p Package, f snapshotFile) {
	if f.number == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.artifact(p.Group, p.Artifact)
	a.builds[p.Version] = append(a.builds[p.Version], f)
}

// list adds the version to the artifact-level metadata.
func (r *Registry) list(p Package) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.artifact(p.Group, p.Artifact)
	if p.At.After(a.updated) {
		a.updated = p.At.UTC()
	}
	if !slices.Contains(a.versions, p.Version) {
		a.versions = append(a.versions, p.Version)
	}
}

func (r *Registry) artifact(group, art string) *artifact {
	a := r.artifacts[group+":"+art]
	if a == nil {
		a = &artifact{builds: map[string][]snapshotFile{}}
		r.artifacts[group+":"+art] = a
	}
	return a
}

func (p Package) pom() []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	if p.Module {
		// What Gradle writes so that its resolver asks for the .module file.
		b.WriteString("<!-- do_not_remove: published-with-gradle-metadata -->\n")
	}
	b.WriteString("<project>\n  <modelVersion>4.0.0</modelVersion>\n")
	if p.Parent != nil {
		b.WriteString("  <parent>\n")
		element(&b, "groupId", p.Parent.Group)
		element(&b, "artifactId", p.Parent.Artifact)
		element(&b, "version", p.Parent.Version)
		b.WriteString("    <relativePath/>\n  </parent>\n")
	}
	element(&b, "groupId", p.Group)
	element(&b, "artifactId", p.Artifact)
	element(&b, "version", p.Version)
	element(&b, "packaging", p.Packaging)
	if p.Relocated != nil {
		b.WriteString("  <distributionManagement>\n    <relocation>\n")
		element(&b, "groupId", p.Relocated.Group)
		element(&b, "artifactId", p.Relocated.Artifact)
		element(&b, "version", p.Relocated.Version)
		element(&b, "message", "moved")
		b.WriteString("    </relocation>\n  </distributionManagement>\n")
	}
	if len(p.Managed) > 0 {
		b.WriteString("  <dependencyManagement>\n")
		dependencies(&b, p.Managed)
		b.WriteString("  </dependencyManagement>\n")
	}
	dependencies(&b, p.Deps)
	b.WriteString("</project>\n")
	return b.Bytes()
}

func dependencies(b *bytes.Buffer, ds []Dep) {
	if len(ds) == 0 {
		return
	}
	b.WriteString("  <dependencies>\n")
	for _, d := range ds {
		b.WriteString("    <dependency>\n")
		element(b, "groupId", d.Group)
		element(b, "artifactId", d.Artifact)
		element(b, "version", d.Version)
		element(b, "classifier", d.Classifier)
		element(b, "type", d.Type)
		element(b, "scope", d.Scope)
		if d.Optional {
			element(b, "optional", "true")
		}
		b.WriteString("    </dependency>\n")
	}
	b.WriteString("  </dependencies>\n")
}

func element(b *bytes.Buffer, tag, text string) {
	if text == "" {
		return
	}
	b.WriteString("    <" + tag + ">")
	_ = xml.EscapeText(b, []byte(text)) // a bytes.Buffer does not fail
	b.WriteString("</" + tag + ">\n")
}

// jar makes a deterministic archive that a class loader accepts.
func (p Package) jar(classifier, value string) []byte {
	entries := []entry{
		{"META-INF/MANIFEST.MF", []byte("Manifest-Version: 1.0\r\nImplementation-Version: " + value + "\r\n\r\n")},
		{"META-INF/maven/" + p.Group + "/" + p.Artifact + "/pom.properties",
			[]byte("groupId=" + p.Group + "\nartifactId=" + p.Artifact + "\nversion=" + p.Version + "\n")},
		{strings.ReplaceAll(p.Group, ".", "/") + "/" + p.Artifact + ".txt", []byte(p.Artifact + " " + value + " " + classifier + p.Note + "\n")},
	}
	if p.Padding > 0 {
		entries = append(entries, entry{"padding.bin", filler(p.Padding)})
	}
	return archive(entries)
}

type entry struct {
	name string
	body []byte
}

func archive(entries []entry) []byte {
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for _, e := range entries {
		w, err := zw.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: Epoch})
		if err == nil {
			_, err = w.Write(e.body)
		}
		if err != nil {
			panic(fmt.Sprintf("maventest: build archive: %v", err))
		}
	}
	if err := zw.Close(); err != nil {
		panic(fmt.Sprintf("maventest: build archive: %v", err))
	}
	return b.Bytes()
}

// filler is a fixed pseudo-random sequence (xorshift), so that archives do not
// shrink and stay the same from run to run.
func filler(n int) []byte {
	out := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x)
	}
	return out
}

// module makes Gradle module metadata 1.1 with one variant.
func (p Package) module() []byte {
	jar := p.jar("", p.Version)
	var deps []string
	for _, d := range p.Deps {
		deps = append(deps, fmt.Sprintf(`{"group":%q,"module":%q,"version":{"requires":%q}}`, d.Group, d.Artifact, d.Version))
	}
	name := p.Artifact + "-" + p.Version + ".jar"
	return fmt.Appendf(nil, `{"formatVersion":"1.1","component":{"group":%q,"module":%q,"version":%q,"attributes":{"org.gradle.status":"release"}},`+
		`"variants":[{"name":"runtimeElements","attributes":{"org.gradle.usage":"java-runtime"},"dependencies":[%s],`+
		`"files":[{"name":%q,"url":%q,"size":%d,"sha512":%q,"sha256":%q,"sha1":%q,"md5":%q}]}]}`+"\n",
		p.Group, p.Artifact, p.Version, strings.Join(deps, ","), name, name, len(jar),
		digest("sha512", jar), digest("sha256", jar), digest("sha1", jar), digest("md5", jar))
}
