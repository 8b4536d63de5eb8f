package maventest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Project is a small build on disk for the real clients, against one
// repository address. Its Maven settings make a wrong checksum an error.
type Project struct {
	Dir  string // the project
	Repo string // Maven's local repository
}

// projectPOM uses what the default content has to offer: a parent, a bill of
// materials, a classifier, "+" and capitals, a relocation, both kinds of
// snapshots.
const projectPOM = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>app</groupId><artifactId>app</artifactId><version>1</version><packaging>pom</packaging>
  <parent><groupId>com.example.larder</groupId><artifactId>parent</artifactId><version>1</version><relativePath/></parent>
  <dependencyManagement><dependencies>
    <dependency><groupId>com.example.larder</groupId><artifactId>bom</artifactId><version>1</version><type>pom</type><scope>import</scope></dependency>
  </dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>com.example.larder</groupId><artifactId>gamma_2.12_1.0</artifactId><version>0.3</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>natives</artifactId><classifier>linux-x86_64</classifier></dependency>
    <dependency><groupId>Com.Example.Larder</groupId><artifactId>Delta.Core</artifactId><version>1.0+build.5</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>epsilon</artifactId><version>1.0</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>snap</artifactId><version>1.0-SNAPSHOT</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>legacy</artifactId><version>0.1-SNAPSHOT</version></dependency>
    <dependency><groupId>com.example.larder</groupId><artifactId>modular</artifactId><version>1.0</version></dependency>
  </dependencies>
</project>
`

const rangedPOM = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>app</groupId><artifactId>app</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>com.example.larder</groupId><artifactId>ranged</artifactId><version>1.0</version></dependency>
  </dependencies>
</project>
`

// The http address below is never asked: the mirror stands for it.
const settingsXML = `<settings>
  <localRepository>REPO</localRepository>
  <pluginGroups><pluginGroup>com.example.larder</pluginGroup></pluginGroups>
  <mirrors><mirror><id>larder</id><mirrorOf>*</mirrorOf><url>URL</url></mirror></mirrors>
  <profiles><profile><id>all</id><repositories><repository><id>all</id><url>http://registry.example/</url>
    <releases><checksumPolicy>fail</checksumPolicy></releases>
    <snapshots><enabled>true</enabled><checksumPolicy>fail</checksumPolicy></snapshots>
  </repository></repositories></profile></profiles>
  <activeProfiles><activeProfile>all</activeProfile></activeProfiles>
</settings>
`

const buildGradle = `
repositories { maven { url "URL" } }
configurations { fetched }
dependencies {
  fetched "com.example.larder:gamma_2.12_1.0:0.3"
  fetched "com.example.larder:natives:1.0:linux-x86_64"
  fetched "Com.Example.Larder:Delta.Core:1.0+build.5"
  fetched "com.example.larder:alpha:1.+"
  fetched "com.example.larder:modular:1.0"
  fetched("com.example.larder:snap:1.0-SNAPSHOT") { changing = true }
}
task fetch(type: Copy) { from configurations.fetched; into "lib" }
`

// NewProject writes a project that uses all of the default content.
func NewProject(t testing.TB, url string) *Project { return newProject(t, url, projectPOM) }

// NewRangedProject writes one whose dependency asks for a range of versions.
func NewRangedProject(t testing.TB, url string) *Project { return newProject(t, url, rangedPOM) }

func newProject(t testing.TB, url, pom string) *Project {
	t.Helper()
	p := &Project{Dir: t.TempDir(), Repo: t.TempDir()}
	for name, text := range map[string]string{
		"pom.xml": pom, "settings.xml": strings.NewReplacer("URL", url, "REPO", p.Repo).Replace(settingsXML),
		"build.gradle": strings.ReplaceAll(buildGradle, "URL", url), "settings.gradle": "rootProject.name = 'app'\n",
	} {
		if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// Maven runs the goal deps:deps with the real mvn and returns its output.
func (p *Project) Maven(t testing.TB, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"-B", "-s", "settings.xml", "-Dmaven.repo.local=" + p.Repo, PluginPrefix + ":deps"}, args...)
	return p.run(t, client(t, "mvn"), args)
}

// Gradle runs the task fetch with the real gradle, which copies all resolved
// files to lib, and returns its output.
func (p *Project) Gradle(t testing.TB, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"--no-daemon", "--console=plain", "-g", filepath.Join(p.Repo, "gradle"), "fetch"}, args...)
	return p.run(t, client(t, "gradle"), args)
}

// client finds a real client. Its absence is said loudly; where
// LARDER_REQUIRE_CLIENTS is set (.ci/run) it is a failure.
func client(t testing.TB, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a Java virtual machine")
	}
	p, err := exec.LookPath(name)
	if err != nil && os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
		t.Fatalf("%s is not installed, and LARDER_REQUIRE_CLIENTS is set", name)
	}
	if err != nil {
		t.Skipf("SKIPPED: the real client %s is not installed; nothing was checked", name)
	}
	return p
}

func (p *Project) run(t testing.TB, name string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.Dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Installed compares what Maven put into its local repository with what reg
// publishes, for every direct and transitive dependency of NewProject.
func (p *Project) Installed(t testing.TB, reg *Registry) {
	t.Helper()
	for _, file := range []string{
		"com/example/larder/gamma_2.12_1.0/0.3/gamma_2.12_1.0-0.3.jar",
		"com/example/larder/beta/1.0/beta-1.0.jar",
		"com/example/larder/natives/1.0/natives-1.0-linux-x86_64.jar",
		"Com/Example/Larder/Delta.Core/1.0+build.5/Delta.Core-1.0+build.5.jar",
		"com/example/larder/alpha/1.1/alpha-1.1.jar",
		"com/example/larder/snap/1.0-SNAPSHOT/snap-1.0-20240322.120000-2.jar",
		"com/example/larder/legacy/0.1-SNAPSHOT/legacy-0.1-SNAPSHOT.jar",
		"com/example/larder/modular/1.0/modular-1.0.jar",
	} {
		got, err := os.ReadFile(filepath.Join(p.Repo, filepath.FromSlash(file)))
		if want, ok := reg.File(file); err != nil || !ok || string(got) != string(want) {
			t.Errorf("%s was not installed as published: %v", file, err)
		}
	}
}
