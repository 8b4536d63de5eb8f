package maven

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
)

// machine is a formats.Machine of files in memory. Nothing can be started.
type machine struct {
	t     *testing.T
	env   map[string]string
	files map[string]string
	path  map[string]string
}

func (m *machine) Getenv(key string) string { return m.env[key] }
func (m *machine) Home() string             { return "/home/u" }
func (m *machine) TempDir() string          { return m.t.TempDir() }

func (m *machine) ReadFile(p string) ([]byte, error) {
	if body, ok := m.files[path.Clean(p)]; ok {
		return []byte(body), nil
	}
	return nil, fs.ErrNotExist
}

func (m *machine) Glob(pattern string) []string {
	seen := map[string]bool{}
	for p := range m.files {
		for ; p != "/"; p = path.Dir(p) {
			if ok, _ := path.Match(pattern, p); ok {
				seen[p] = true
			}
		}
	}
	var out []string
	for p := range seen {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func (m *machine) LookPath(name string) (string, error) {
	if p, ok := m.path[name]; ok {
		return p, nil
	}
	return "", errors.New("not found")
}

func (m *machine) Run(context.Context, []string, string, ...string) (string, error) {
	m.t.Error("discovery starts a program")
	return "", errors.New("not started")
}

func superJar(t *testing.T, url string) string {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	w, err := zw.Create("org/apache/maven/model/pom-4.0.0.xml")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("<project><repositories><repository><id>central</id><url>" + url + "</url></repository></repositories></project>"))
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDiscover(t *testing.T) {
	jar := superJar(t, "https://registry.example/maven2")
	const debian = "/usr/share/maven/lib/maven-model-builder-3.x.jar"
	const user = "/home/u/.m2/settings.xml"
	settings := func(inner string) string { return "<settings>" + inner + "</settings>" }
	for _, c := range []struct {
		what  string
		files map[string]string
		env   map[string]string
		path  map[string]string
		want  []string // "name url"
		where string
		miss  string
	}{
		{what: "bare Debian", files: map[string]string{debian: jar}, want: []string{"public:maven-central https://registry.example/maven2/"}, where: "super POM in " + debian},
		{what: "mvn on the path", files: map[string]string{"/opt/m/lib/maven-model-builder-3.9.jar": jar}, path: map[string]string{"mvn": "/opt/m/bin/mvn"},
			want: []string{"public:maven-central https://registry.example/maven2/"}, where: "/opt/m/lib"},
		{what: "MAVEN_HOME", files: map[string]string{"/opt/m/lib/maven-model-builder-3.9.jar": jar}, env: map[string]string{"MAVEN_HOME": "/opt/m"},
			want: []string{"public:maven-central https://registry.example/maven2/"}, where: "/opt/m/lib"},
		{what: "wrapper only", files: map[string]string{"/home/u/.m2/wrapper/dists/apache-maven-3.9.9/abc/lib/maven-model-builder-3.9.9.jar": jar},
			want: []string{"public:maven-central https://registry.example/maven2/"}, where: "wrapper"},
		{what: "mirror of everything with a credential",
			files: map[string]string{debian: jar, user: settings(`
				<mirrors><mirror><id>corp</id><mirrorOf>*</mirrorOf><url>https://nexus.example/m</url></mirror></mirrors>
				<servers><server><id>corp</id><username>u</username><password>${env.PW}</password></server></servers>`)},
			env: map[string]string{"PW": "s3:c"}, want: []string{"public:maven-central https://u:s3%3Ac@nexus.example/m/"}, where: "mirror corp in " + user},
		{what: "mirror without an installation", files: map[string]string{user: settings(`<mirrors><mirror><id>corp</id><mirrorOf>external:*</mirrorOf><url>https://nexus.example/m/</url></mirror></mirrors>`)},
			want: []string{"public:maven-central https://nexus.example/m/"}, where: "mirror corp"},
		{what: "exact mirror before pattern, exclusion respected",
			files: map[string]string{debian: jar, user: settings(`
				<mirrors><mirror><id>all</id><mirrorOf>*,!central,!extra</mirrorOf><url>https://all.example/</url></mirror>
				<mirror><id>c</id><mirrorOf>central</mirrorOf><url>https://central.example/</url></mirror></mirrors>
				<profiles><profile><id>p</id><repositories>
					<repository><id>extra</id><url>https://extra.example/r</url></repository>
					<repository><id>other</id><url>https://other.example/r</url></repository>
				</repositories></profile></profiles><activeProfiles><activeProfile>p</activeProfile></activeProfiles>`)},
			want: []string{"public:maven-central https://central.example/", "public:maven-extra https://extra.example/r/", "public:maven-other https://all.example/"}},
		{what: "profile redefines central; inactive profile is silent",
			files: map[string]string{debian: jar, user: settings(`<profiles>
				<profile><id>on</id><activation><activeByDefault>true</activeByDefault></activation><repositories><repository><id>central</id><url>https://mine.example/</url></repository></repositories></profile>
				<profile><id>off</id><repositories><repository><id>x</id><url>https://x.example/</url></repository></repositories></profile></profiles>`)},
			want: []string{"public:maven-central https://mine.example/"}, where: user},
		{what: "installation-wide settings, blocked mirror",
			files: map[string]string{debian: jar, "/etc/maven/settings.xml": settings(`
				<mirrors><mirror><id>blocker</id><mirrorOf>external:http:*</mirrorOf><url>http://0.0.0.0/</url><blocked>true</blocked></mirror></mirrors>
				<profiles><profile><id>p</id><repositories><repository><id>plain</id><url>http://plain.example/</url></repository></repositories></profile></profiles>
				<activeProfiles><activeProfile>p</activeProfile></activeProfiles>`)},
			want: []string{"public:maven-central https://registry.example/maven2/"}},
		{what: "larder itself is no upstream",
			files: map[string]string{debian: jar, user: settings(`<mirrors><mirror><id>larder</id><mirrorOf>*</mirrorOf><url>http://127.0.0.1:5273/maven/main/</url></mirror></mirrors>`)},
			want:  []string{"public:maven-central https://registry.example/maven2/"}},
		{what: "larder under another id",
			files: map[string]string{debian: jar, user: settings(`<mirrors><mirror><id>near</id><mirrorOf>*</mirrorOf><url>http://localhost:5273/maven/main</url></mirror></mirrors>`)},
			want:  []string{"public:maven-central https://registry.example/maven2/"}},
		{what: "encrypted password", files: map[string]string{debian: jar, user: settings(`<servers><server><id>central</id><username>u</username><password>{abc=}</password></server></servers>`)},
			want: []string{"public:maven-central https://registry.example/maven2/"}, where: "encrypted password was not read"},
		{what: "unset variable", files: map[string]string{debian: jar, user: settings(`<servers><server><id>central</id><username>u</username><password>${env.NO}</password></server></servers>`)},
			want: []string{"public:maven-central https://registry.example/maven2/"}, where: "variable that is not set"},
		{what: "broken settings", files: map[string]string{user: "<settings><mirrors>"}, miss: "not a valid settings.xml"},
		{what: "broken jar", files: map[string]string{debian: "PK"}, miss: "open jar"},
		{what: "no Maven", miss: "no Maven installation"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := New().Discover(t.Context(), &machine{t, c.env, c.files, c.path})
			var have []string
			for _, r := range got.Registries {
				have = append(have, r.Name+" "+r.URL)
				if r.Store != strings.TrimPrefix(r.Name, "public:")+"-store" {
					t.Errorf("store %q of %q", r.Store, r.Name)
				}
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("found %q, want %q", have, c.want)
			}
			if !strings.Contains(got.Where, c.where) || len(c.want) > 0 && got.Where == "" {
				t.Errorf("where %q, want %q in it", got.Where, c.where)
			}
			if c.miss != "" && (!strings.Contains(got.Missing, c.miss) || !strings.Contains(got.Example, "registry.example")) {
				t.Errorf("missing %q, want %q in it; example %q", got.Missing, c.miss, got.Example)
			}
		})
	}
}

func TestSetupIsWhatDiscoveryPassesOver(t *testing.T) {
	setup := New().Setup("http://127.0.0.1:5273/maven/main")
	_, fragment, ok := strings.Cut(setup, ": ")
	if !ok || strings.Contains(setup, "\n") {
		t.Fatalf("setup is %q", setup)
	}
	s, err := parseSettings([]byte(fragment), &machine{t: t})
	if err != nil || len(s.Mirrors) != 1 || s.Mirrors[0].URL != "http://127.0.0.1:5273/maven/main/" || s.Mirrors[0].MirrorOf != "*" || s.Mirrors[0].ID != mirrorID {
		t.Fatalf("%+v (%v)", s, err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("<settings><mirrors><mirror><id>a</id><mirrorOf>*,!b</mirrorOf><url>https://x.example</url></mirror></mirrors></settings>"))
	f.Add([]byte("<settings><profiles><profile><repositories><repository><url>${env.X}</url></repository></repositories></profile></profiles></settings>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := &machine{t: t, files: map[string]string{"/home/u/.m2/settings.xml": string(body)}}
		for _, r := range New().Discover(t.Context(), m).Registries {
			if !strings.HasPrefix(r.URL, "http") || !strings.HasSuffix(r.URL, "/") {
				t.Fatalf("address %q", r.URL)
			}
		}
	})
}
