package maven

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"

	"larder/formats"
)

// settings is what larder reads of a settings.xml (Maven settings model 1.2.0).
type settings struct {
	XMLName        xml.Name  `xml:"settings"`
	Mirrors        []mirror  `xml:"mirrors>mirror"`
	Servers        []server  `xml:"servers>server"`
	Profiles       []profile `xml:"profiles>profile"`
	ActiveProfiles []string  `xml:"activeProfiles>activeProfile"`
}

type mirror struct {
	ID       string `xml:"id"`
	MirrorOf string `xml:"mirrorOf"`
	URL      string `xml:"url"`
	Blocked  string `xml:"blocked"`

	file string // where it stands
}

type server struct {
	ID       string `xml:"id"`
	Username string `xml:"username"`
	Password string `xml:"password"`
}

type profile struct {
	ID              string       `xml:"id"`
	ActiveByDefault string       `xml:"activation>activeByDefault"`
	Repositories    []repository `xml:"repositories>repository"`
	Plugins         []repository `xml:"pluginRepositories>pluginRepository"`
}

type repository struct {
	ID     string `xml:"id"`
	URL    string `xml:"url"`
	Layout string `xml:"layout"`

	file string // where it stands
}

// parseSettings reads a settings.xml and resolves ${env.X} and ${user.home}.
func parseSettings(data []byte, m formats.Machine) (*settings, error) {
	var s settings
	if err := xml.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("parse settings: %w", err)
	}
	in := interpolator{m, regexp.MustCompile(`\$\{([^}]*)\}`)}
	for i := range s.Mirrors {
		in.all(&s.Mirrors[i].ID, &s.Mirrors[i].MirrorOf, &s.Mirrors[i].URL, &s.Mirrors[i].Blocked)
	}
	for i := range s.Servers {
		in.all(&s.Servers[i].ID, &s.Servers[i].Username, &s.Servers[i].Password)
	}
	for i := range s.Profiles {
		p := &s.Profiles[i]
		in.all(&p.ID, &p.ActiveByDefault)
		p.Repositories = append(p.Repositories, p.Plugins...)
		for j := range p.Repositories {
			in.all(&p.Repositories[j].ID, &p.Repositories[j].URL)
		}
	}
	for i := range s.ActiveProfiles {
		in.all(&s.ActiveProfiles[i])
	}
	return &s, nil
}

type interpolator struct {
	m       formats.Machine
	pattern *regexp.Regexp
}

func (in interpolator) all(fields ...*string) {
	for _, f := range fields {
		*f = strings.TrimSpace(in.pattern.ReplaceAllStringFunc(*f, func(expr string) string {
			key := expr[2 : len(expr)-1]
			if env, ok := strings.CutPrefix(key, "env."); ok {
				if v := in.m.Getenv(env); v != "" {
					return v
				}
			}
			if key == "user.home" {
				return in.m.Home()
			}
			return expr
		}))
	}
}

// merge adds what the weaker (installation-wide) settings say; the user's
// settings win per id (maven-settings MavenSettingsMerger).
func (s *settings) merge(weaker *settings) {
	if weaker == nil {
		return
	}
	s.Mirrors = mergeByID(s.Mirrors, weaker.Mirrors, func(m mirror) string { return m.ID })
	s.Servers = mergeByID(s.Servers, weaker.Servers, func(v server) string { return v.ID })
	s.Profiles = mergeByID(s.Profiles, weaker.Profiles, func(p profile) string { return p.ID })
	s.ActiveProfiles = append(s.ActiveProfiles, weaker.ActiveProfiles...)
}

func mergeByID[T any](strong, weak []T, id func(T) string) []T {
	seen := map[string]bool{}
	for _, v := range strong {
		seen[id(v)] = true
	}
	for _, v := range weak {
		if !seen[id(v)] {
			strong = append(strong, v)
		}
	}
	return strong
}

// repositories lists those of the active profiles; profiles that are active by
// default count only where none is named.
func (s *settings) repositories() []repository {
	active := map[string]bool{}
	for _, id := range s.ActiveProfiles {
		active[id] = true
	}
	var out []repository
	for _, p := range s.Profiles {
		if active[p.ID] || len(active) == 0 && p.ActiveByDefault == "true" {
			out = append(out, p.Repositories...)
		}
	}
	return out
}

// mirrorFor follows maven-resolver's DefaultMirrorSelector: an exact id first,
// then the first pattern that matches.
func (s *settings) mirrorFor(r repository) *mirror {
	for i, m := range s.Mirrors {
		if m.MirrorOf == r.ID {
			return &s.Mirrors[i]
		}
	}
	for i, m := range s.Mirrors {
		if mirrors(m.MirrorOf, r) {
			return &s.Mirrors[i]
		}
	}
	return nil
}

// mirrors matches a mirrorOf list: "*", "external:*", "external:http:*", ids and
// "!id". A negation ends the search at once.
func mirrors(list string, r repository) bool {
	matched := false
	for _, p := range strings.Split(list, ",") {
		p = strings.TrimSpace(p)
		switch {
		case strings.HasPrefix(p, "!"):
			if p[1:] == r.ID {
				return false
			}
		case p == r.ID:
			return true
		case p == "*":
			matched = true
		case p == "external:*":
			matched = matched || external(r.URL)
		case p == "external:http:*":
			matched = matched || external(r.URL) && strings.HasPrefix(strings.ToLower(r.URL), "http:")
		}
	}
	return matched
}

func external(raw string) bool {
	u, err := parseURL(raw)
	return err == nil && !isLoopback(u.Hostname())
}
