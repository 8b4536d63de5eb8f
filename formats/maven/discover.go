package maven

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"larder/formats"
)

// mirrorID is the id of the mirror that Setup tells the user to write.
const mirrorID = "larder"

// Discover finds the repositories that Maven on this machine would ask: those
// of the user's and the installation's settings.xml with their mirrors and
// credentials, and "central" as the super POM inside the installed Maven
// defines it. Only files are read; Maven is never started.
func (f *Format) Discover(_ context.Context, m formats.Machine) formats.Finding {
	d := discovery{m: m}
	s := d.settings()
	central, where := d.central(s)
	repos := s.repositories()
	if central.URL != "" {
		repos = append([]repository{central}, withoutID(repos, central.ID)...)
	}
	var out formats.Finding
	for _, r := range repos {
		d.add(&out, s, r, where)
	}
	if len(out.Registries) == 0 {
		// A mirror of everything needs no repository to be known.
		for _, mi := range s.Mirrors {
			if mirrors(mi.MirrorOf, repository{ID: "central", URL: "https://registry.example/"}) {
				d.add(&out, s, repository{ID: "central", URL: mi.URL}, "")
				break
			}
		}
	}
	out.Where = strings.Join(d.where, "; ")
	if len(out.Registries) == 0 {
		out.Missing = "no settings.xml names a repository and no Maven installation was found"
		if len(d.problems) > 0 {
			out.Missing = d.problems[0]
		}
		out.Example = "[[connection]]\nname = \"public:maven-central\"\nformat = \"maven\"\nurl = \"https://registry.example/maven2/\"\n\n" +
			"[[repository]]\nname = \"maven-central-store\"\nconnection = \"public:maven-central\"\n"
	}
	return out
}

// Setup returns the mirror entry for settings.xml.
func (f *Format) Setup(base string) string {
	return "in ~/.m2/settings.xml: <settings><mirrors><mirror><id>" + mirrorID + "</id><mirrorOf>*</mirrorOf><url>" +
		escape(strings.TrimSuffix(base, "/")) + "/</url></mirror></mirrors></settings>"
}

// discovery gathers what one run finds.
type discovery struct {
	m        formats.Machine
	where    []string
	problems []string
}

func (d *discovery) note(list *[]string, s string) {
	for _, have := range *list {
		if have == s {
			return
		}
	}
	*list = append(*list, s)
}

// homes lists Maven installations, the one that would run first.
func (d *discovery) homes() []string {
	var out []string
	if p, err := d.m.LookPath("mvn"); err == nil {
		out = append(out, path.Dir(path.Dir(filepath.ToSlash(p))))
	}
	for _, key := range []string{"MAVEN_HOME", "M2_HOME"} {
		if v := d.m.Getenv(key); v != "" {
			out = append(out, strings.TrimSuffix(filepath.ToSlash(v), "/"))
		}
	}
	out = append(out, "/usr/share/maven")
	home := filepath.ToSlash(d.m.Home())
	for _, pattern := range []string{
		"/opt/maven*", "/opt/apache-maven*", "/usr/local/maven*", "/usr/local/apache-maven*",
		home + "/.sdkman/candidates/maven/current", home + "/.m2/wrapper/dists/*/*", home + "/.m2/wrapper/dists/*/*/*",
	} {
		out = append(out, d.m.Glob(pattern)...)
	}
	return out
}

// settings merges the user's settings.xml with the installation's. A file that
// cannot be parsed is passed over and named.
func (d *discovery) settings() *settings {
	user := d.m.Home() + "/.m2/settings.xml"
	s := d.read(user)
	if s == nil {
		s = &settings{}
	}
	for _, home := range append(d.homes(), "/etc/maven") {
		file := home + "/conf/settings.xml"
		if home == "/etc/maven" {
			file = home + "/settings.xml"
		}
		if global := d.read(file); global != nil {
			s.merge(global)
			break
		}
	}
	// larder itself as a mirror is not an upstream of larder.
	var kept []mirror
	for _, mi := range s.Mirrors {
		if u, err := parseURL(mi.URL); mi.ID != mirrorID && (err != nil || !isLarder(u)) {
			kept = append(kept, mi)
		}
	}
	s.Mirrors = kept
	return s
}

func (d *discovery) read(file string) *settings {
	data, err := d.m.ReadFile(file)
	if err != nil {
		return nil
	}
	s, err := parseSettings(data, d.m)
	if err != nil {
		d.note(&d.problems, file+" is not a valid settings.xml")
		return nil
	}
	for i := range s.Mirrors {
		s.Mirrors[i].file = file
	}
	for i := range s.Profiles {
		for j := range s.Profiles[i].Repositories {
			s.Profiles[i].Repositories[j].file = file
		}
	}
	return s
}

// central is the repository every project inherits: settings may redefine it by
// its id, else the super POM of the installation says where it is.
func (d *discovery) central(s *settings) (repository, string) {
	for _, r := range s.repositories() {
		if r.ID == "central" {
			return r, ""
		}
	}
	for _, home := range d.homes() {
		for _, jar := range append(d.m.Glob(home+"/lib/maven-model-builder-*.jar"), d.m.Glob(home+"/lib/maven-impl-*.jar")...) {
			data, err := d.m.ReadFile(jar)
			if err != nil {
				continue
			}
			r, err := superPOMRepository(data)
			if err != nil {
				d.note(&d.problems, fmt.Sprintf("%s: %v", jar, err))
				continue
			}
			return r, "super POM in " + jar
		}
	}
	return repository{}, ""
}

// superPOMRepository reads the first repository of the super POM inside a
// model builder's jar.
func superPOMRepository(jar []byte) (repository, error) {
	const limit = 1 << 20
	zr, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return repository{}, fmt.Errorf("open jar: %w", err)
	}
	for _, zf := range zr.File {
		if !strings.HasSuffix(zf.Name, "/pom-4.0.0.xml") {
			continue
		}
		rc, err := zf.Open()
		if err != nil {
			return repository{}, fmt.Errorf("open %s: %w", zf.Name, err)
		}
		var pom struct {
			Repositories []repository `xml:"repositories>repository"`
		}
		err = xml.NewDecoder(io.LimitReader(rc, limit)).Decode(&pom)
		rc.Close()
		if err != nil {
			return repository{}, fmt.Errorf("parse %s: %w", zf.Name, err)
		}
		for _, r := range pom.Repositories {
			r.ID, r.URL = strings.TrimSpace(r.ID), strings.TrimSpace(r.URL)
			if r.URL != "" {
				return r, nil
			}
		}
	}
	return repository{}, fmt.Errorf("no super POM with a repository inside")
}

func withoutID(rs []repository, id string) []repository {
	var out []repository
	for _, r := range rs {
		if r.ID != id {
			out = append(out, r)
		}
	}
	return out
}

// add resolves the mirror and the credential of one repository and appends it
// unless its address is there already or is no http address.
func (d *discovery) add(out *formats.Finding, s *settings, r repository, where string) {
	role, source := r.ID, where
	if source == "" || r.file != "" {
		source = r.file
	}
	if mi := s.mirrorFor(r); mi != nil {
		if mi.Blocked == "true" {
			return
		}
		r = repository{ID: mi.ID, URL: mi.URL}
		source = "mirror " + mi.ID + " in " + mi.file
	}
	u, err := parseURL(r.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || r.Layout == "legacy" || isLarder(u) {
		return
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	u.RawPath, u.RawQuery, u.Fragment = "", "", ""
	bare := *u
	bare.User = nil
	for _, have := range out.Registries {
		if h, err := url.Parse(have.URL); err == nil {
			if h.User = nil; h.String() == bare.String() {
				return
			}
		}
	}
	for _, sv := range s.Servers {
		if sv.ID != r.ID || sv.Username == "" {
			continue
		}
		if strings.HasPrefix(sv.Password, "{") && strings.HasSuffix(sv.Password, "}") {
			// Encrypted with the user's master password, which is not ours to open.
			source += " (its encrypted password was not read)"
			break
		}
		if strings.Contains(sv.Username+sv.Password, "${") {
			source += " (its credential names a variable that is not set)"
			break
		}
		u.User = url.UserPassword(sv.Username, sv.Password)
	}
	name := roleName(role)
	for _, have := range out.Registries {
		if have.Store == name+"-store" {
			return
		}
	}
	out.Registries = append(out.Registries, formats.Registry{Name: "public:" + name, Store: name + "-store", URL: u.String()})
	d.note(&d.where, source)
}

// isLarder recognises a larder on this machine at its usual port.
func isLarder(u *url.URL) bool {
	return isLoopback(u.Hostname()) && strings.HasPrefix(u.Path, "/maven/") && u.Port() == "5273"
}

// roleName gives the names CodeArtifact has for public sources to the ids that
// builds use for them, and a derived name to others.
func roleName(id string) string {
	switch strings.ToLower(id) {
	case "central":
		return "maven-central"
	case "google", "google-maven":
		return "maven-googleandroid"
	case "gradle-plugins", "gradle-plugin-portal", "gradlepluginportal":
		return "maven-gradleplugins"
	case "clojars", "commonsware":
		return "maven-" + strings.ToLower(id)
	}
	var b strings.Builder
	for i := 0; i < len(id) && b.Len() < 60; i++ {
		if c := id[i]; isAlnum(c) || c == '-' || c == '_' || c == '.' {
			b.WriteByte(c)
		} else {
			b.WriteByte('-')
		}
	}
	return "maven-" + b.String()
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse repository address: %w", err)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("repository address %q has no host", raw)
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
